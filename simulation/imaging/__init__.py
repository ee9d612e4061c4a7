"""simulation/imaging: simulated liver CT and MRI in physical units, and how they are written."""
