# What R's survival gives for Cox regressions, tests of proportional hazards and concordance.
# Tables: recidivism.csv, breast-recurrence.csv, liver-resection.csv; for one of two causes breast-competing.csv and
# liver-competing.csv (see make.py).
library(survival)
library(jsonlite)

args <- commandArgs(trailingOnly = TRUE)
strict <- coxph.control(eps = 1e-14, toler.chol = 1e-15, iter.max = 100)

tables <- list(
  list(key = "recidivism", columns = c("fin", "age", "race", "wexp", "mar", "paro", "prio"), stratum = "race"),
  list(key = "breast-recurrence", columns = c("age", "size", "nodes", "progesterone", "oestrogen", "hormone"),
       stratum = "group"),
  list(key = "liver-resection", columns = c("age", "size", "sex", "group"), stratum = "sex")
)

fitted <- function(formula, data, ties) {
  plain <- coxph(formula, data, ties = ties, control = strict, x = TRUE)
  robust <- coxph(formula, data, ties = ties, control = strict, robust = TRUE)
  zph <- lapply(c(km = "km", identity = "identity", rank = "rank"), function(transform) {
    table <- cox.zph(plain, transform = transform)$table
    list(chi2 = unname(table[, "chisq"]), p = unname(table[, "p"]))
  })
  list(
    coef = unname(coef(plain)), std_err = unname(sqrt(diag(vcov(plain)))),
    robust_std_err = unname(sqrt(diag(vcov(robust)))), log_likelihood = plain$loglik,
    n = plain$n, events = plain$nevent, zph = zph
  )
}

one <- function(table) {
  data <- read.csv(file.path(args[1], paste0(table$key, ".csv")))
  data <- data[complete.cases(data[c(table$columns, "os_time", "os_event")]), ]
  right <- paste(table$columns, collapse = " + ")
  inner <- paste(setdiff(table$columns, table$stratum), collapse = " + ")
  model <- function(right) as.formula(paste("Surv(os_time, os_event) ~", right))
  common <- coxph(model(right), data, control = strict)
  basis <- survfit(common, newdata = as.data.frame(t(colMeans(data[table$columns]))))
  risk <- common$linear.predictors
  as_score <- function(right) coxph(model(right), data, init = 1, control = coxph.control(iter.max = 0))
  concordant <- function(strata) {
    one <- function(score) {
      fit <- concordance(model(paste(score, strata)), data = data, reverse = TRUE)
      count <- if (is.matrix(fit$count)) colSums(fit$count) else fit$count
      list(concordance = unname(fit$concordance), std_err = sqrt(unname(fit$var)), count = unname(count))
    }
    both <- concordance(as_score(paste("risk", strata)), as_score(paste("first", strata)))
    list(risk = one("risk"), first = one("first"), covariance = unname(vcov(both)))
  }
  data$risk <- risk
  first <- data[[table$columns[2]]]
  data$first <- first
  list(
    stratified = list(
      efron = fitted(model(paste(right, "+ strata(site)")), data, "efron"),
      breslow = fitted(model(paste(right, "+ strata(site)")), data, "breslow")
    ),
    inner = fitted(model(paste0(inner, " + strata(site, ", table$stratum, ")")), data, "efron"),
    common = list(
      efron = fitted(model(right), data, "efron"),
      breslow = fitted(model(right), data, "breslow")
    ),
    baseline = list(time = basis$time, hazard = basis$cumhaz),
    coef = unname(coef(common)),
    concordance = list(within = concordant("+ strata(site)"), pooled = concordant(""))
  )
}

of_one_cause <- function(table) {
  data <- read.csv(file.path(args[1], paste0(table$key, ".csv")))
  model <- function(strata) {
    as.formula(paste("Surv(ttr_time, ttr_event == 1) ~", paste(table$columns, collapse = " + "), strata))
  }
  list(
    stratified = list(efron = fitted(model("+ strata(site)"), data, "efron"),
                      breslow = fitted(model("+ strata(site)"), data, "breslow")),
    common = list(efron = fitted(model(""), data, "efron"), breslow = fitted(model(""), data, "breslow"))
  )
}

result <- setNames(lapply(tables, one), vapply(tables, function(t) t$key, ""))
result[["breast-competing"]] <- of_one_cause(list(key = "breast-competing", columns = tables[[2]]$columns))
result[["liver-competing"]] <- of_one_cause(list(key = "liver-competing", columns = tables[[3]]$columns))
versions <- list(R = R.version$version.string, survival = as.character(packageVersion("survival")))
result$r <- versions
print(versions)
write_json(result, args[2], digits = I(17), auto_unbox = TRUE)
