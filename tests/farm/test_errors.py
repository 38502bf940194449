from farm.errors import FieldProblem, InvalidRequest
from farm.spec.budget import OverBudget


def test_a_refusal_of_one_field_names_it_and_says_what_is_wrong() -> None:
    error = InvalidRequest.at("width", "must be a multiple of 8")
    assert error.problems == [FieldProblem("width", "must be a multiple of 8")]
    assert str(error) == "width: must be a multiple of 8"


def test_a_refusal_of_one_field_is_of_the_class_that_it_was_made_from() -> None:
    assert isinstance(OverBudget.at("prompts", "are too many"), OverBudget)
