"""client/describing: `fedmvi-site describe`: a hospital looks at its own data, on a page that stays there."""
