# Columns that findCorrelation (caret) leaves, by correlations of the pooled breast-cancer.csv and by those inside its
# sites, and ComBat (sva) with the sites as batches: every 19th patient of what it gives.

suppressPackageStartupMessages({library(caret); library(sva); library(jsonlite)})

arguments <- commandArgs(trailingOnly = TRUE)
data <- read.csv(file.path(arguments[1], "breast-cancer.csv"))
columns <- setdiff(names(data), c("y", "site"))
X <- as.matrix(data[columns])

thresholds <- c(0.5, 0.7, 0.9)
kept <- function(r) {
  lapply(thresholds, function(t) setdiff(columns, findCorrelation(r, cutoff = t, exact = TRUE, names = TRUE)))
}
inside <- apply(X, 2, function(x) residuals(lm(x ~ factor(data$site))))

protected <- c("mean_texture", "mean_fractal_dimension")
harmonised <- setdiff(columns, protected)
rows <- seq(1, nrow(data), by = 19)
by_sites <- function(covariates, ...) {
  mod <- if (length(covariates)) model.matrix(reformulate(covariates), data) else NULL
  adjusted <- suppressMessages(ComBat(t(X[, harmonised]), factor(data$site), mod, ...))
  unname(t(adjusted)[rows, ])
}
options <- function(covariates) {
  list(
    parametric = by_sites(covariates), mean_only = by_sites(covariates, mean.only = TRUE),
    nonparametric = by_sites(covariates, par.prior = FALSE),
    reference = by_sites(covariates, ref.batch = "1"),
    mean_only_reference = by_sites(covariates, mean.only = TRUE, ref.batch = "1")
  )
}

write_json(list(
  r = list(R = as.character(getRversion()), caret = as.character(packageVersion("caret")),
           sva = as.character(packageVersion("sva"))),
  thresholds = thresholds, kept = list(pooled = kept(cor(X)), within = kept(cor(inside))),
  combat = list(rows = rows - 1, protected = protected, covariates = options(protected), plain = options(character()))
), arguments[2], digits = I(17), auto_unbox = TRUE)
