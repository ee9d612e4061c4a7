"""client/imaging: registration, subtraction, regions, intensities and ROI stacks of one patient's images."""
