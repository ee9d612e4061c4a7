# Logistic regressions: Firth (brglm2), conditional (survival), random effects (metafor), backward elimination (stats),
# proportional odds (ordinal).
suppressMessages({
  library(jsonlite); library(survival); library(brglm2); library(metafor); library(ordinal)
})
args <- commandArgs(trailingOnly = TRUE)
breast <- read.csv(file.path(args[1], "breast-cancer.csv"))
heart <- read.csv(file.path(args[1], "heart-disease.csv"))

seven <- c("mean_texture", "mean_smoothness", "mean_symmetry", "texture_error", "smoothness_error",
           "mean_fractal_dimension", "symmetry_error")
breast$large <- as.numeric(breast$mean_area > 1000) # all of them malignant
separated <- c("large", "mean_texture", "mean_smoothness")
standard <- function(data, names) data.frame(y = data$y, site = data$site, scale(data[names]))
strict <- glm.control(epsilon = 1e-15, maxit = 100)

firth <- function(data, names) {
  fit <- glm(reformulate(names, "y"), binomial, standard(data, names), method = "brglmFit",
             control = brglm_control(epsilon = 1e-12, maxit = 10000, type = "AS_mean"))
  list(coef = unname(coef(fit)[-1]), std_err = unname(sqrt(diag(vcov(fit)))[-1]))
}

within <- clogit(reformulate(c(seven, "strata(site)"), "y"), standard(breast, seven), method = "exact",
                 control = coxph.control(eps = 1e-14, toler.chol = 1e-15, iter.max = 100))

alone <- c("age", "thalach", "oldpeak")
complete <- heart[complete.cases(heart[alone]), ]
fits <- lapply(split(complete, complete$site), function(d) {
  fit <- glm(reformulate(alone, "y"), binomial, d, control = strict)
  # Its errors belong to the weights of the last step but one: step once more.
  fit <- glm(reformulate(alone, "y"), binomial, d, control = strict, start = coef(fit))
  list(coef = coef(fit), variance = diag(vcov(fit)))
})
combined <- suppressWarnings(lapply(seq_along(alone) + 1, function(j) {
  y <- sapply(fits, function(f) f$coef[[j]]); v <- sapply(fits, function(f) f$variance[[j]])
  lapply(c(fixed = "FE", `dersimonian-laird` = "DL", reml = "REML"), function(method) {
    control <- if (method == "REML") list(threshold = 1e-15, maxiter = 10000) else list()
    fit <- rma.uni(y, v, method = method, control = control)
    knapp <- rma.uni(y, v, method = method, test = "knha", control = control)
    predicted <- if (method == "FE") list(pi.lb = NULL) else predict(fit, pi.type = "riley")
    list(estimate = fit$b[[1]], std_err = fit$se, tau2 = fit$tau2, i2 = fit$I2, q = fit$QE,
         knapp = c(knapp$ci.lb, knapp$ci.ub), prediction = c(predicted$pi.lb, predicted$pi.ub))
  })
})) # metafor warns of Hartung-Knapp limits around a fixed effect

terms <- c("age", "sex", "cp", "trestbps", "thalach", "exang", "fbs", "restecg", "oldpeak")
rows <- heart[complete.cases(heart[terms]), ]
rows$cp <- factor(rows$cp)
full <- glm(reformulate(terms, "y"), binomial, rows, control = strict)
chosen <- step(full, direction = "backward", trace = 0)
stated <- standard(breast, seven)
started <- glm(reformulate(seven, "y"), binomial, stated, control = strict)
path <- function(fit) list(aic = fit$anova$AIC, dropped = sub("^- ", "", fit$anova$Step[-1]),
                           terms = attr(terms(fit), "term.labels"))

graded <- c("age", "sex", "cp", "trestbps", "thalach", "exang")
levels <- heart[complete.cases(heart[graded]), ]
levels[graded] <- scale(levels[graded])
levels$grade <- factor(levels$grade)
odds <- clm(reformulate(graded, "grade"), data = levels,
            control = clm.control(gradTol = 1e-13, relTol = 1e-14, maxIter = 200))

write_json(list(
  r = list(R = as.character(getRversion()), brglm2 = as.character(packageVersion("brglm2")),
           survival = as.character(packageVersion("survival")), metafor = as.character(packageVersion("metafor")),
           ordinal = as.character(packageVersion("ordinal"))),
  firth = list(finite = firth(breast, seven), separated = firth(breast, separated)),
  conditional = list(coef = unname(coef(within)), std_err = unname(sqrt(diag(vcov(within)))),
                     log_likelihood = within$loglik),
  random_effects = setNames(combined, alone),
  backward = list(heart = path(chosen), breast = path(step(started, direction = "backward", trace = 0))),
  ordinal = list(estimates = unname(coef(odds)), std_err = unname(sqrt(diag(vcov(odds)))),
                 log_likelihood = as.numeric(logLik(odds)))
), args[2], digits = I(17), auto_unbox = TRUE)
