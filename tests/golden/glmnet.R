# LASSO and elastic-net paths and their cross-validation (breast-folds), and a path of 495 predictors (breast-wide).
suppressPackageStartupMessages({library(jsonlite); library(glmnet)})
arguments <- commandArgs(trailingOnly = TRUE)
glmnet.control(fdev = 0, devmax = 1)

read_table <- function(key) read.csv(file.path(arguments[1], paste0(key, ".csv")), check.names = FALSE)

path <- function(fit) {
  beta <- as.matrix(fit$beta)
  used <- rowSums(beta != 0) > 0
  list(lambda = fit$lambda, intercept = unname(fit$a0), columns = I(rownames(beta)[used]), beta = unname(t(beta[used, ])))
}

data <- read_table("breast-folds")
x <- as.matrix(data[, setdiff(names(data), c("y", "fold", "site"))])
crossed <- function(alpha) {
  fit <- glmnet(x, data$y, family = "binomial", alpha = alpha, nlambda = 60, lambda.min.ratio = 0.01,
                thresh = 1e-20, maxit = 1e8)
  cv <- cv.glmnet(x, data$y, family = "binomial", alpha = alpha, lambda = fit$lambda, foldid = data$fold + 1,
                  thresh = 1e-14, maxit = 1e8)
  c(path(fit), list(cvm = cv$cvm, cvsd = cv$cvsd, lambda_min = cv$lambda.min, lambda_1se = cv$lambda.1se))
}

wide <- read_table("breast-wide")
many <- as.matrix(wide[, setdiff(names(wide), c("y", "site"))])
fit <- glmnet(many, wide$y, family = "binomial", nlambda = 60, lambda.min.ratio = 0.01, thresh = 1e-20, maxit = 1e8)

write_json(list(
  r = c(R.version.string, sapply(c("glmnet", "jsonlite"), function(p) paste(p, packageVersion(p)))),
  lasso = crossed(1), elastic_net = crossed(0.5), wide = path(fit)
), arguments[2], digits = I(17), auto_unbox = TRUE)
