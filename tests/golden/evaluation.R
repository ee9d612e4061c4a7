# What R gives for areas and their paired comparison (pROC), cut-offs (pROC), van Elteren's test (coin), and
# calibration (glm, splines), and reclassification (Hmisc). Tables: breast-cancer.csv, heart-disease.csv (see make.py).
library(pROC)
library(coin)
library(splines)
suppressPackageStartupMessages(library(Hmisc))
library(jsonlite)

args <- commandArgs(trailingOnly = TRUE)

breast <- read.csv(file.path(args[1], "breast-cancer.csv"))
heart <- read.csv(file.path(args[1], "heart-disease.csv"))

curve <- function(score) roc(breast$y, breast[[score]], direction = "<", levels = c(0, 1), quiet = TRUE)

scores <- c("mean_texture", "mean_smoothness", "mean_symmetry", "texture_error", "smoothness_error")
areas <- lapply(setNames(scores, scores), function(score) {
  fit <- curve(score)
  interval <- ci.auc(fit, method = "delong")
  youden <- coords(fit, "best", best.method = "youden", ret = c("threshold", "sensitivity", "specificity"),
                   transpose = FALSE)
  all <- coords(fit, "all", ret = c("threshold", "sensitivity", "specificity"), transpose = FALSE)
  sensitive <- all[all$sensitivity >= 0.9, ]
  sensitive <- sensitive[order(-sensitive$specificity, -sensitive$sensitivity), ][1, ]
  specific <- all[all$specificity >= 0.9, ]
  specific <- specific[order(-specific$sensitivity, -specific$specificity), ][1, ]
  list(auc = as.numeric(auc(fit)), std_err = sqrt(var(fit, method = "delong")),
       low = interval[1], high = interval[3],
       youden = as.list(youden), sensitivity = as.list(sensitive), specificity = as.list(specific))
})

pairs <- combn(scores, 2, simplify = FALSE)
comparisons <- lapply(pairs, function(pair) {
  test <- roc.test(curve(pair[1]), curve(pair[2]), method = "delong", paired = TRUE, conf.level = 0.95)
  list(first = pair[1], second = pair[2], z = unname(test$statistic), p = test$p.value,
       low = test$conf.int[1], high = test$conf.int[2])
})

van_elteren <- function(data, column) {
  data <- data[!is.na(data[[column]]), ]
  data$rank <- ave(data[[column]], data$site, FUN = function(x) rank(x) / (length(x) + 1))
  data$y <- factor(data$y)
  data$site <- factor(data$site)
  test <- independence_test(rank ~ y | site, data = data, teststat = "scalar", distribution = "asymptotic")
  list(z = as.numeric(statistic(test)), p = as.numeric(pvalue(test)))
}
stratified <- list(
  breast = lapply(setNames(scores, scores), function(column) van_elteren(breast, column)),
  heart = lapply(c(age = "age", trestbps = "trestbps", thalach = "thalach", oldpeak = "oldpeak"),
                 function(column) van_elteren(heart, column))
)

risk <- plogis(-7.5 + 0.2 * breast$mean_texture + 30 * breast$mean_smoothness)
linear <- qlogis(risk)
strict <- glm.control(epsilon = 1e-15, maxit = 100)
again <- function(fit) update(fit, start = coef(fit)) # errors are those of the weights before the last step
large <- again(glm(y ~ 1, offset = linear, family = binomial, control = strict, data = breast))
line <- again(glm(y ~ linear, family = binomial, control = strict, data = breast))
knots <- qlogis(c(0.15, 0.3, 0.5, 0.7))
grid <- c(0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
spline <- again(glm(y ~ ns(linear, knots = knots[2:3], Boundary.knots = knots[c(1, 4)]), family = binomial,
                    control = strict, data = breast))
predicted <- predict(spline, data.frame(linear = qlogis(grid)), se.fit = TRUE)
calibration <- list(
  in_the_large = unname(coef(large)), in_the_large_std_err = sqrt(vcov(large)[1, 1]),
  coef = unname(coef(line)), std_err = unname(sqrt(diag(vcov(line)))),
  curve_linear = unname(predicted$fit), curve_std_err = unname(predicted$se.fit)
)

other <- round(plogis(-5 + 0.22 * breast$mean_texture), 2)
# Categories as numbers from 0 to 1: only which of two is higher matters.
category <- function(p) findInterval(p, c(0.2, 0.5)) / 2
improved <- function(old, new) improveProb(old, new, breast$y)[c("nri", "se.nri", "idi", "se.idi")]
reclassification <- list(continuous = improved(other, risk), categorical = improved(category(other), category(risk)))

write_json(
  list(
    r = list(version = R.version.string, pROC = as.character(packageVersion("pROC")),
             coin = as.character(packageVersion("coin")), Hmisc = as.character(packageVersion("Hmisc"))),
    areas = areas, comparisons = comparisons, van_elteren = stratified, calibration = calibration,
    reclassification = reclassification
  ),
  args[2], digits = I(17), auto_unbox = TRUE
)
