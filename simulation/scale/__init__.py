"""simulation/scale: what a study costs over tens, hundreds and a thousand hospitals, measured on one machine."""
