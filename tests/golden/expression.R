# limma-voom with a dummy variable a site, of the genes that every site found; and median-of-ratios size factors.
library(limma)
library(jsonlite)

args <- commandArgs(trailingOnly = TRUE)
data <- read.csv(file.path(args[1], "rna-counts.csv"), check.names = FALSE)
genes <- grep("^gene", colnames(data), value = TRUE)
counts <- t(as.matrix(data[, genes]))
found <- apply(counts, 1, function(row) all(tapply(row, data$site, sum) > 0))

fitted <- function(library, terms) {
  design <- cbind(sapply(terms, function(term) data[[term]]), model.matrix(~ 0 + factor(data$site)))
  weighted <- voom(counts[found, ], design, lib.size = library)
  fit <- eBayes(lmFit(weighted, design))
  list(coef = fit$coefficients[, 1], t = fit$t[, 1], p = fit$p.value[, 1], adjusted = p.adjust(fit$p.value[, 1], "BH"),
       std_err = sqrt(fit$s2.post) * fit$stdev.unscaled[, 1], sigma = fit$sigma, prior_variance = fit$s2.prior,
       prior_degrees = fit$df.prior, mean = fit$Amean)
}

# Genes that more than a tenth of the patients lack: their own least squares of the logarithms that voom makes, while the
# others are voom's, and all p values are adjusted together.
without_sparse <- function(library, terms) {
  design <- cbind(sapply(terms, function(term) data[[term]]), model.matrix(~ 0 + factor(data$site)))
  few <- rowMeans(counts[found, ] == 0) > 0.1
  dense <- eBayes(lmFit(voom(counts[found, ][!few, ], design, lib.size = library), design))
  logs <- t(log2(t(counts[found, ][few, ] + 0.5) / (library + 1) * 1e6))
  own <- apply(logs, 1, function(y) summary(lm(y ~ 0 + design))$coefficients[1, ])
  joined <- function(ours, theirs) {
    whole <- numeric(length(few))
    whole[!few] <- ours
    whole[few] <- theirs
    whole
  }
  p <- joined(dense$p.value[, 1], own[4, ])
  list(coef = joined(dense$coefficients[, 1], own[1, ]), t = joined(dense$t[, 1], own[3, ]), p = p,
       adjusted = p.adjust(p, "BH"),
       std_err = joined(sqrt(dense$s2.post) * dense$stdev.unscaled[, 1], own[2, ]),
       prior_degrees = dense$df.prior, sparse = genes[found][few])
}

# Transcripts per million, here of one length: no weights, the trend of none.
tpm <- function(terms) {
  million <- t(t(counts) / colSums(counts) * 1e6)
  design <- cbind(sapply(terms, function(term) data[[term]]), model.matrix(~ 0 + factor(data$site)))
  fit <- eBayes(lmFit(log2(million[found, ] + 1), design))
  list(coef = fit$coefficients[, 1], t = fit$t[, 1], p = fit$p.value[, 1], adjusted = p.adjust(fit$p.value[, 1], "BH"),
       std_err = sqrt(fit$s2.post) * fit$stdev.unscaled[, 1], prior_degrees = fit$df.prior, mean = fit$Amean)
}

# DESeq2's definition, in R's own words: medians of ratios to geometric means of the genes without a zero.
log_means <- rowMeans(log(counts))
factors <- apply(counts, 2, function(cnts) exp(median((log(cnts) - log_means)[is.finite(log_means) & cnts > 0])))
library <- colSums(counts)
normal <- factors / library
effective <- library * normal / exp(mean(log(normal)))

result <- list(
  r = list(version = R.version.string, limma = as.character(packageVersion("limma"))),
  found = genes[found],
  plain = fitted(library, "group"),
  adjusted = fitted(library, c("group", "age")),
  effective = fitted(effective, "group"),
  sparse = without_sparse(effective, c("group", "age")),
  tpm = tpm("group"),
  tpm_adjusted = tpm(c("group", "age")),
  size_factors = factors,
  effective_library = effective
)
write_json(result, args[2], digits = I(17), auto_unbox = TRUE)
