"""simulation: benchmarks: expression: false and true finds where the truth is drawn.

Many small studies are drawn, each with RNA-seq at three or four hospitals, and the product's own conclusion compares
genes between patients with and without microvascular invasion (MVI), by histology or by a predictor that errs. What a
study calls different at a false discovery rate of 5 % is held against what was drawn.
"""
