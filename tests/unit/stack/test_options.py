"""What a person may choose about the local stack."""

from pathlib import Path

import pytest

from deploy.stack.errors import StackError
from deploy.stack.options import Options


def test_nothing_chosen_is_valkey_two_workers_and_servers_of_our_own() -> None:
    assert Options.read({}) == Options(database_url=None, broker_url=None, broker="valkey", workers=2)


def test_an_empty_choice_is_no_choice() -> None:
    empty = {"DATABASE_URL": "", "BROKER_URL": "", "BROKER": "", "WORKERS": ""}

    assert Options.read(empty) == Options()


def test_given_urls_are_used() -> None:
    given = {"DATABASE_URL": "postgresql://there/x", "BROKER_URL": "amqp://there"}

    options = Options.read(given)

    assert (options.database_url, options.broker_url) == ("postgresql://there/x", "amqp://there")


def test_our_own_name_for_a_url_goes_before_the_usual_one() -> None:
    given = {"DATABASE_URL": "postgresql://there/x", "PENSTOCK_DATABASE_URL": "postgresql://ours/x"}

    assert Options.read(given).database_url == "postgresql://ours/x"


def test_a_url_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("amqp://there\n")

    assert Options.read({"BROKER_URL_FILE": str(file)}).broker_url == "amqp://there"
    with pytest.raises(StackError, match="BROKER_URL and BROKER_URL_FILE are both set"):
        Options.read({"BROKER_URL_FILE": str(file), "BROKER_URL": "amqp://here"})


@pytest.mark.parametrize("wrong", [{"BROKER": "kafka"}, {"WORKERS": "0"}, {"WORKERS": "two"}, {"WORKERS": "65"}])
def test_a_choice_that_does_not_exist_is_named(wrong: dict[str, str]) -> None:
    ((name, value),) = wrong.items()

    with pytest.raises(StackError, match=f"{name}={value}"):
        Options.read(wrong)
