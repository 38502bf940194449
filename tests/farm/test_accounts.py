"""Accounts: their names, and keys that come to an end."""

import pytest
from sqlalchemy import insert, text

from farm import accounts
from farm.db.connection import Database
from farm.db.tables.accounts import User
from farm.errors import Conflict, InvalidRequest, NotFound


def key_of(database: Database, name: str = "mia") -> str:
    with database.begin() as session:
        return accounts.add_user(session, name)


def user_of(database: Database, key: str) -> str | None:
    with database.begin() as session:
        return accounts.user_of_key(session, key)


@pytest.mark.parametrize("name", ["mia", "Ana-Lúcia", "bob@example.org", "render.team_2", "木村", "7"])
def test_a_name_may_have_letters_of_any_script(database: Database, name: str) -> None:
    assert user_of(database, key_of(database, name)) == name


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a\nb", "<b>a</b>", "[red]a[/]", "a\x1b[2J", "a\x00", "-a", "x" * 65]
)
def test_a_name_that_would_mislead_is_refused(database: Database, name: str) -> None:
    with pytest.raises(InvalidRequest, match="letters and digits"):
        key_of(database, name)


# Full width, mathematical, accents, a capital I or 1 for the l, Cyrillic o, c and a, Greek o, one letter barred.
ALIKE = [
    *("\uff4c\uff4f\uff43\uff41\uff4c", "\U0001d425\U0001d428\U0001d41c\U0001d41a\U0001d425", "l\u00f3c\u00e1l"),
    *("Ioca1", "l0cal", "l\u043eca\u04cf", "lo\u0441\u0430l", "l\u03bfcal", "\u0142ocal", "LOC\u0410L"),
]


@pytest.mark.parametrize("name", ["local", "Local", " local ", *ALIKE])
def test_no_key_is_made_for_the_local_user(database: Database, name: str) -> None:
    with pytest.raises(InvalidRequest, match="without a key"):
        key_of(database, name)


@pytest.mark.parametrize("name", ["p\u0430ul", "\u0410lice", "m\u03b1x", "\u043c\u03b1\u0438", "pa\u0301u-\u0430"])
def test_a_name_of_scripts_that_look_alike_is_refused(database: Database, name: str) -> None:
    with pytest.raises(InvalidRequest, match="mixes letters"):
        key_of(database, name)


@pytest.mark.parametrize(
    "name",
    [
        "\u0410\u043d\u043d\u0430-2",
        "\u039c\u03b1\u03c1\u03af\u03b1",
        "\u6728\u6751-ken",
        "jos\u00e9",
        "locale",
        "Stra\u00dfe",
    ],
)
def test_a_name_of_one_script_or_of_scripts_that_differ_is_taken(database: Database, name: str) -> None:
    assert user_of(database, key_of(database, name)) == name


def test_two_ways_to_write_the_same_letters_are_one_name(database: Database) -> None:
    key = key_of(database, "Zoe\u0308")
    assert user_of(database, key) == "Zo\u00eb"


def test_an_account_that_an_earlier_release_let_in_still_gets_a_key(database: Database) -> None:
    with database.begin() as session:
        session.execute(insert(User).values(name="The Team"))
    assert user_of(database, key_of(database, "The Team")) == "The Team"


def test_a_revoked_key_is_worthless_and_the_others_stay(database: Database) -> None:
    lost, kept = key_of(database), key_of(database)
    with database.begin() as session:
        assert accounts.revoke_key(session, lost.split("_")[1]) == "mia"
    assert (user_of(database, lost), user_of(database, kept)) == (None, "mia")


def test_a_key_can_be_revoked_by_its_full_text(database: Database) -> None:
    key = key_of(database)
    with database.begin() as session:
        accounts.revoke_key(session, key)
    assert user_of(database, key) is None


@pytest.mark.parametrize("prefix", ["00000000", "", "farm_", "%", "a\x00"])
def test_an_unknown_key_cannot_be_revoked(database: Database, prefix: str) -> None:
    key_of(database)
    with database.begin() as session, pytest.raises(NotFound):
        accounts.revoke_key(session, prefix)


def test_rotating_keys_leaves_only_the_new_one_valid(database: Database) -> None:
    old = key_of(database)
    with database.begin() as session:
        new = accounts.rotate_keys(session, "mia")
    assert (user_of(database, old), user_of(database, new)) == (None, "mia")


def test_a_disabled_account_has_no_key_and_gets_none(database: Database) -> None:
    key = key_of(database)
    with database.begin() as session:
        accounts.disable_user(session, "mia")
    assert user_of(database, key) is None
    with pytest.raises(Conflict, match="is disabled"):
        key_of(database)


def test_a_refused_rotation_leaves_a_disabled_account_as_it_is(database: Database) -> None:
    key_of(database)
    with database.begin() as session:
        accounts.disable_user(session, "mia")
    with database.begin() as session, pytest.raises(Conflict):
        accounts.rotate_keys(session, "mia")


def test_the_local_user_cannot_be_disabled(database: Database) -> None:
    with database.begin() as session, pytest.raises(InvalidRequest, match="without a key"):
        accounts.disable_user(session, "local")


def test_an_enabled_account_gets_a_new_key_and_the_old_one_stays_revoked(database: Database) -> None:
    old = key_of(database)
    with database.begin() as session:
        accounts.disable_user(session, "mia")
        accounts.enable_user(session, "mia")
    assert user_of(database, key_of(database)) == "mia"
    assert user_of(database, old) is None


def test_a_portal_without_a_valid_key_has_no_accounts(database: Database) -> None:
    key_of(database)
    with database.begin() as session:
        assert accounts.has_accounts(session)
        accounts.disable_user(session, "mia")
        assert not accounts.has_accounts(session)


def test_accounts_are_listed_with_the_beginnings_of_their_valid_keys(database: Database) -> None:
    first, second = key_of(database), key_of(database)
    with database.begin() as session:
        accounts.revoke_key(session, first)
        [listed] = accounts.all_users(session)
    assert (listed.name, listed.keys) == ("mia", [second.split("_")[1]])


@pytest.mark.parametrize(
    ("beginning", "names"),
    [
        *(("", ["mia", "mia_2", "miab", "zo\u00eb"]), ("mia", ["mia", "mia_2", "miab"]), ("mia_", ["mia_2"])),
        *(("zoe\u0308", ["zo\u00eb"]), ("%", []), ("M", []), ("a\x00", [])),
    ],
)
def test_accounts_are_listed_by_how_their_names_begin(database: Database, beginning: str, names: list[str]) -> None:
    for name in ("mia", "miab", "mia_2", "zo\u00eb"):
        key_of(database, name)
    with database.begin() as session:
        assert [listed.name for listed in accounts.all_users(session, beginning)] == names


def test_the_keys_of_an_account_are_found_by_an_index(database: Database) -> None:
    with database.begin() as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))
        plan = session.scalars(text("EXPLAIN SELECT * FROM api_keys WHERE user_id = 7")).all()
    assert "api_keys_user" in "".join(plan)


@pytest.mark.parametrize("change", [accounts.disable_user, accounts.enable_user, accounts.rotate_keys])
def test_an_unknown_account_is_reported(database: Database, change: object) -> None:
    assert callable(change)
    with database.begin() as session, pytest.raises(NotFound, match="no such account"):
        change(session, "nobody")


def test_an_account_weighs_one_until_it_is_given_another_weight(database: Database) -> None:
    key_of(database)
    with database.begin() as session:
        [before] = accounts.all_users(session)
        accounts.set_user_weight(session, "mia", 2.5)
        [after] = accounts.all_users(session)
    assert (before.weight, after.weight) == (1.0, 2.5)


def test_a_project_is_given_a_weight(database: Database) -> None:
    with database.begin() as session:
        session.execute(text("INSERT INTO projects (name) VALUES ('film')"))
        assert [found.weight for found in accounts.all_projects(session)] == [None]
        accounts.set_project_weight(session, "film", 3.0)
        assert [(found.name, found.weight) for found in accounts.all_projects(session)] == [("film", 3.0)]


def test_the_weight_of_a_project_is_taken_away_again(database: Database) -> None:
    with database.begin() as session:
        session.execute(text("INSERT INTO projects (name, weight) VALUES ('film', 3)"))
        accounts.set_project_weight(session, "film", None)
        assert [(found.name, found.weight) for found in accounts.all_projects(session)] == [("film", None)]


@pytest.mark.parametrize("name", ["nobody", "a\x00b"])
def test_who_is_not_there_has_no_weight(database: Database, name: str) -> None:
    with database.begin() as session:
        for weigh in (accounts.set_user_weight, accounts.set_project_weight):
            with pytest.raises(NotFound, match="There is no such"):
                weigh(session, name, 2.0)
