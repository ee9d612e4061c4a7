"""simulation: benchmarks: distribution shift made on purpose, so that finding it and acting on it can be measured.

`patients` draws who has MVI and what it does to a lesion; `pictures` draws two phases of one slice and puts them
through a scanner; `scenarios` says what differs at the hospital that took no part in training; `measurements` reads
features off the pixels; `preparation` standardises intensities as a hospital does; `cohorts` makes a seed's hospitals
of that; `methods`, `detecting` and `recalibrating` do what the product does, over sites in this process; `campaign`
does it for many seeds; `figures` and `targets` turn that into numbers with intervals; `real` does it in four real
centres.
"""
