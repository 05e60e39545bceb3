"""--help names every option, its choices and its default, and says what it is for."""

import pytest

from mde_fast.runs.config import OPTIONS


@pytest.fixture
def help_of(command):
    """help_of("train") -> the text, its white space made single."""

    def help_of(name: str) -> str:
        outcome = command(name, "--help")
        assert (outcome.status, outcome.err) == (0, "")
        return " ".join(outcome.out.split())

    return help_of


@pytest.mark.parametrize("name", ["train", "search"])
def test_every_option_of_a_run(help_of, name):
    text = help_of(name)
    for option, entry in OPTIONS.items():
        flag = f" --{option.replace('_', '-')} "
        assert flag in text
        after = text[text.index(flag, text.index("data options")) :]
        assert after.find(" ".join(entry.metadata["help"].split())) in range(len(flag), len(flag) + 60), option
    for group in ("data", "model", "training", "evaluation"):
        assert f"{group} options" in text


def test_choices_and_defaults(help_of):
    text = help_of("train")
    assert "--layer-combine {mean,sum} combine layers" in text
    assert "(default: 5,10,20,50)" in text and "(default: 0.0001)" in text
    assert "--require-real [true|false]" in text
    assert "100%" not in text and "%%" not in text


@pytest.mark.parametrize(
    "name, flags",
    [
        ("train", ["--config FILE YAML file", "--preset NAME options", "--output RUN run folder", "--resume RUN"]),
        (
            "search",
            [
                "--preset NAME options found",
                "--output DIR folder of the search",
                "--space FILE YAML file of what is searched",
                "--trials N in all, earlier ones included (default: 50)",
                "--timeout TIME stop after so long",
                "--jobs N processes",
                "--pruner {median,none} median ends a trial",
                "--sampler-seed N of the proposals (default: 0)",
            ],
        ),
        ("evaluate", ["RUN run folder", "--topk K,K,... cut-offs", "--data-dir DIR where", "--json print JSON"]),
        (
            "recommend",
            [
                "RUN run folder",
                "--user ID user id",
                "--users-file FILE user ids",
                "--all-users every user",
                "--item ID items similar",
                "--k N how many",
                "--format {text,json,csv} (default: text)",
                "--include-seen also items",
            ],
        ),
        (
            "experiments",
            [
                "EXPERIMENT table1, table2, figure2, precision",
                "--seeds N,N,... train each row",
                "--jobs N runs side by side",
                "--output DIR reports",
                "--config FILE YAML file",
                "--report-only train nothing",
                "--learning-rate X of Adam",
            ],
        ),
        ("inspect", ["RUN run folder", "--k N how many", "--output DIR where", "--data-dir DIR where"]),
    ],
)
def test_the_commands_own_flags(help_of, name, flags):
    text = help_of(name)
    for flag in flags:
        assert flag in text


@pytest.mark.parametrize("name", ["train", "recommend", "experiments", "search"])
def test_examples(help_of, name):
    assert f"examples: python -m mde_fast.{name}" in help_of(name)


@pytest.mark.parametrize("name", ["train", "evaluate", "recommend", "inspect", "search"])
def test_the_program_is_called_as_it_is_typed(help_of, name):
    assert help_of(name).startswith(f"usage: python -m mde_fast.{name} [")


def test_where_options_come_from(help_of):
    text = help_of("train")
    names = "baby, clothing, default, lightgcn, sports, tiktok, none"
    assert f"--config and flags win over them. {names}, or a YAML file" in text
    assert "An option that is not given has the value of the dataset's preset" in text


def test_a_flag_of_no_concern_is_not_shown(help_of):
    assert "--worker" not in help_of("search")
