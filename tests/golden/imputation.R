# Rubin's rules with the degrees of freedom of Barnard and Rubin by mice: four logistic regressions on heart-disease.csv,
# each with the missing values of a column filled by another quantile of it.

suppressPackageStartupMessages({library(mice); library(jsonlite)})

arguments <- commandArgs(trailingOnly = TRUE)
heart <- read.csv(file.path(arguments[1], "heart-disease.csv"))

columns <- c("age", "sex", "trestbps", "chol", "thalach", "oldpeak")
filled <- sapply(columns, function(name) {
  quantile(heart[[name]], c(0.1, 0.35, 0.65, 0.9), na.rm = TRUE, names = FALSE)
})
strict <- glm.control(epsilon = 1e-15, maxit = 100)
fits <- lapply(1:4, function(m) {
  data <- heart
  for (name in columns) data[[name]][is.na(data[[name]])] <- filled[m, name]
  fit <- glm(reformulate(columns, "y"), binomial, data, control = strict)
  # Its errors belong to the weights of the last step but one: step once more.
  update(fit, start = coef(fit), data = data)
})
pooled <- lapply(1 + seq_along(columns), function(j) {
  pool.scalar(sapply(fits, function(f) coef(f)[[j]]), sapply(fits, function(f) vcov(f)[j, j]), nrow(heart),
              length(columns) + 1)
})
of_all <- function(name) sapply(pooled, function(p) p[[name]])

write_json(list(
  r = list(R = as.character(getRversion()), mice = as.character(packageVersion("mice"))),
  columns = columns, filled = unname(filled), coef = of_all("qbar"), within = of_all("ubar"), between = of_all("b"),
  total = of_all("t"), degrees = of_all("df"), missing_information = of_all("fmi")
), arguments[2], digits = I(17), auto_unbox = TRUE)
