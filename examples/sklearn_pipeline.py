"""Chooses the penalty by cross-validation with the exact estimator, then trains the same pipeline with Lightning."""

from pathlib import Path

import pandas as pd
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from linreg_pl.sklearn import ExactRegressor, LinregRegressor

table = pd.read_csv(Path(__file__).with_name("diabetes.csv"))
X, y = table[["age", "sex", "bmi", "bp", "s5"]], table["progression"]
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

# Both standardize features themselves, so l2 penalises coefficients in the same units.
exact = make_pipeline(PolynomialFeatures(2, include_bias=False), ExactRegressor())
search = GridSearchCV(exact, {"exactregressor__l2": [0, 0.01, 0.1, 0.3, 1]}).fit(X_train, y_train)
l2 = search.best_params_["exactregressor__l2"]
print(f"l2 {l2} has R² {search.best_score_:.4f} in cross-validation")

trained = make_pipeline(PolynomialFeatures(2, include_bias=False), LinregRegressor(l2=l2)).fit(X_train, y_train)
print(f"R² of the test rows: exact {search.score(X_test, y_test):.6f}, trained {trained.score(X_test, y_test):.6f}")
for name, one, other in zip(
    trained[0].get_feature_names_out(), search.best_estimator_[-1].coef_, trained[-1].coef_, strict=True
):
    print(f"{name:8}  exact {one:8.4f}  trained {other:8.4f}")
