"""The description of the API."""

from flask.testing import FlaskClient
from jsonschema import Draft202012Validator


def test_every_address_of_the_api_is_described(client: FlaskClient) -> None:
    document = client.get("/openapi.json").json
    described = {path.replace("{job_id}", "7") for path in document["paths"]}
    assert "/api/v1/jobs/7/explain" in described
    rules = [rule for rule in client.application.url_map.iter_rules() if rule.rule.startswith("/api/")]
    assert len({rule.rule for rule in rules}) == len(described)


def test_a_submitted_job_is_described_by_the_schema_that_checks_it(client: FlaskClient) -> None:
    document = client.get("/openapi.json").json
    schema = {"$ref": "#/components/schemas/JobRequest", "components": document["components"]}
    validator = Draft202012Validator(schema)
    assert validator.is_valid({"prompts": ["a lighthouse", {"prompt": "a harbour", "width": 640}]})
    assert not validator.is_valid({"prompts": ["x"], "sampler": "Euler b"})


def test_problems_are_described_as_problems(client: FlaskClient) -> None:
    responses = client.get("/openapi.json").json["paths"]["/api/v1/jobs"]["post"]["responses"]
    assert {"201", "401", "409", "422", "503"} <= responses.keys()
    assert "application/problem+json" in responses["422"]["content"]


def test_the_header_that_makes_repeats_harmless_is_described(client: FlaskClient) -> None:
    parameters = client.get("/openapi.json").json["paths"]["/api/v1/jobs"]["post"]["parameters"]
    assert ("Idempotency-Key", "header", False) in [(p["name"], p["in"], p["required"]) for p in parameters]


def test_the_page_of_the_description_loads_all_its_scripts_from_the_portal(client: FlaskClient) -> None:
    page = client.get("/docs").text
    assert "http" not in page.replace("http-equiv", "")
    for path in ("/docs/swagger/js/swagger-ui-bundle.js", "/docs/swagger/css/swagger-ui.css", "/static/docs.js"):
        assert path in page
        with client.get(path) as answer:
            assert answer.status_code == 200
