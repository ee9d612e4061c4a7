# Cumulative incidences, their variances and Gray's test by cmprsk, and cause-specific curves by survival, on
# breast-competing.csv and liver-competing.csv.

library(cmprsk)
library(survival)
library(jsonlite)

arguments <- commandArgs(trailingOnly = TRUE)

one <- function(key, times) {
  data <- read.csv(file.path(arguments[1], paste0(key, ".csv")), check.names = FALSE)
  fit <- cuminc(data$ttr_time, data$ttr_event, data$group)
  at <- timepoints(fit, times)
  specific <- survfit(Surv(ttr_time, ttr_event == 1) ~ group, data, conf.type = "log-log")
  levels <- sort(unique(data$group))
  list(
    times = times,
    groups = levels,
    names = rownames(at$est),
    incidence = unname(at$est),
    variance = unname(at$var),
    chi2 = unname(fit$Tests[, "stat"]),
    p = unname(fit$Tests[, "pv"]),
    degrees = unname(fit$Tests[, "df"]),
    cause_specific = lapply(seq_along(levels), function(i) {
      summary(specific[i], times = times, extend = TRUE)$surv
    }),
    cause_specific_chi2 = survdiff(Surv(ttr_time, ttr_event == 1) ~ group, data)$chisq
  )
}

versions <- list(R = R.version.string)
for (package in c("cmprsk", "survival")) versions[[package]] <- as.character(packageVersion(package))
result <- list(
  r = versions,
  breast = one("breast-competing", c(100, 365, 545, 730, 1095, 1460, 1825)),
  liver = one("liver-competing", c(3, 6, 12, 18, 24, 36, 48))
)
write_json(result, arguments[2], digits = I(17), auto_unbox = TRUE)
