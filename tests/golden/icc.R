# Intraclass correlations of three readers: of the pooled table, and of each site averaged by a fixed-effect
# meta-analysis on Fisher's z scale for three readers.
library(psych)
library(metafor)
library(jsonlite)

args <- commandArgs(trailingOnly = TRUE)
data <- read.csv(file.path(args[1], "reader-study.csv"), check.names = FALSE)
names <- sub("@1$", "", grep("@1$", colnames(data), value = TRUE))
k <- 3

table_of <- function(name, rows) as.matrix(data[rows, paste0(name, "@", 1:k)])

fitted <- function(name, rows) {
  fit <- ICC(table_of(name, rows), lmer = FALSE)
  list(icc = fit$results$ICC[1:3], low = fit$results$`lower bound`[1:3], high = fit$results$`upper bound`[1:3],
       judges = fit$stats["F", "Judges"])
}

everyone <- lapply(names, fitted, rows = seq_len(nrow(data)))
sites <- sort(unique(data$site))
by_site <- lapply(sites, function(s) lapply(names, fitted, rows = which(data$site == s)))

averaged <- function(feature, form) {
  r <- sapply(by_site, function(site) site[[feature]]$icc[form])
  n <- sapply(sites, function(s) sum(data$site == s))
  z <- 0.5 * log((1 + (k - 1) * r) / (1 - r))
  fit <- rma(yi = z, vi = k / (2 * (k - 1) * (n - 2)), method = "FE")
  back <- function(z) (exp(2 * z) - 1) / (exp(2 * z) + k - 1)
  c(back(fit$b[1]), back(fit$ci.lb), back(fit$ci.ub))
}

result <- list(
  r = list(version = R.version.string, psych = as.character(packageVersion("psych")),
           metafor = as.character(packageVersion("metafor"))),
  features = names,
  icc = lapply(1:3, function(f) sapply(everyone, function(e) e$icc[f])),
  low = lapply(1:3, function(f) sapply(everyone, function(e) e$low[f])),
  high = lapply(1:3, function(f) sapply(everyone, function(e) e$high[f])),
  judges = sapply(everyone, function(e) e$judges),
  averaged = lapply(1:3, function(f) lapply(seq_along(names), averaged, form = f))
)
write_json(result, args[2], digits = I(17), auto_unbox = TRUE)
