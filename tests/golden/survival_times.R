# Restricted means and reverse Kaplan-Meier by survfit, weighted and stratified log-rank tests by survdiff, on
# breast-recurrence.csv and liver-resection.csv.

library(survival)
library(jsonlite)

arguments <- commandArgs(trailingOnly = TRUE)

one <- function(key, horizon) {
  data <- read.csv(file.path(arguments[1], paste0(key, ".csv")), check.names = FALSE)
  data$cut_time <- pmin(data$os_time, horizon)
  data$cut_event <- ifelse(data$os_time > horizon, 0, data$os_event)
  means <- summary(survfit(Surv(os_time, os_event) ~ group, data), rmean = horizon)$table
  reverse <- survfit(Surv(os_time, 1 - os_event) ~ group, data, conf.type = "log-log")
  test <- function(formula, rho = 0) {
    fit <- survdiff(formula, data, rho = rho)
    sums <- function(x) if (is.matrix(x)) rowSums(x) else x
    list(observed = unname(sums(fit$obs)), expected = unname(sums(fit$exp)),
         variance = unname(fit$var), chi2 = fit$chisq)
  }
  list(
    horizon = horizon,
    mean = unname(means[, "rmean"]),
    std_err = unname(means[, "se(rmean)"]),
    follow_up = unname(summary(reverse)$table[, c("median", "0.95LCL", "0.95UCL")]),
    pooled = test(Surv(os_time, os_event) ~ group),
    peto = test(Surv(os_time, os_event) ~ group, 1),
    cut = test(Surv(cut_time, cut_event) ~ group),
    stratified = test(Surv(os_time, os_event) ~ group + strata(site)),
    stratified_peto = test(Surv(os_time, os_event) ~ group + strata(site), 1)
  )
}

result <- list(
  r = list(R = R.version.string, survival = as.character(packageVersion("survival"))),
  breast = one("breast-recurrence", 730),
  liver = one("liver-resection", 24)
)
write_json(result, arguments[2], digits = I(17), auto_unbox = TRUE)
