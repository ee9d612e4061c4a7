# Kaplan-Meier curves with Greenwood's errors, log-log bands and medians by survfit, on recidivism.csv (time to arrest)
# and liver-cancer.csv (disease-free interval).

library(survival)
library(jsonlite)

arguments <- commandArgs(trailingOnly = TRUE)

one <- function(key, endpoint) {
  data <- read.csv(file.path(arguments[1], paste0(key, ".csv")), check.names = FALSE)
  data$time <- data[[paste0(endpoint, "_time")]]
  data$event <- data[[paste0(endpoint, "_event")]]
  data <- data[complete.cases(data[c("time", "event", "group")]), ]
  lapply(sort(unique(data$group)), function(level) {
    fit <- survfit(Surv(time, event) ~ 1, data[data$group == level, ], conf.type = "log-log")
    # A summary has errors of the survival itself, the fit those of its logarithm.
    all <- summary(fit, times = fit$time)
    list(time = all$time, survival = all$surv, std_err = all$std.err, low = all$lower, high = all$upper,
         median = unname(summary(fit)$table[c("median", "0.95LCL", "0.95UCL")]))
  })
}

result <- list(
  r = list(R = as.character(getRversion()), survival = as.character(packageVersion("survival"))),
  recidivism = one("recidivism", "os"),
  `liver-cancer` = one("liver-cancer", "dfi")
)
write_json(result, arguments[2], digits = I(17), auto_unbox = TRUE)
