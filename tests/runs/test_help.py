"""--help names every option of the chosen model, its choices and its default, and says what it is for."""

import pytest

from mde_fast.experiments.rows import EXPERIMENTS, row_models
from mde_fast.models import find_model, model_names
from mde_fast.runs.config import schema

MODELS = model_names()


@pytest.fixture
def help_of(command):
    """help_of("train") -> the text, its white space made single."""

    def help_of(name: str, *arguments: str) -> str:
        outcome = command(name, *arguments, "--help")
        assert (outcome.status, outcome.err) == (0, "")
        return " ".join(outcome.out.split())

    return help_of


@pytest.mark.parametrize("name", ["train", "search"])
@pytest.mark.parametrize("model", MODELS)
def test_every_option_of_a_run_of_the_model(help_of, name, model):
    text = help_of(name, "--model", model)
    for option, entry in schema(model).items():
        flag = f" --{option.replace('_', '-')} "
        assert flag in text
        after = text[text.index(flag, text.index("data options")) :]
        assert after.find(" ".join(entry.help.split())) in range(len(flag), len(flag) + 200), option
    for group in ("data options", "model options", f"options of {model}", "training options", "evaluation options"):
        assert f"{group} (any is a YAML key too)" in text


@pytest.mark.parametrize("name", ["train", "search"])
def test_no_option_of_another_model(help_of, name):
    for model in MODELS:
        text = help_of(name, "--model", model)
        others = {option for other in MODELS for option in find_model(other).Options.schema()} - schema(model).keys()
        assert not [option for option in others if f" --{option.replace('_', '-')} " in text]
        assert not [other for other in MODELS if other != model and f"options of {other}" in text]


@pytest.mark.parametrize("name", ["train", "search"])
def test_lightgcn_s_options_and_not_mde_s(help_of, name):
    text = help_of(name, "--model", "lightgcn")
    assert "--n-layers N L, layers on the user-item graph" in text and "--mda-weight" not in text
    assert "--mda-weight X a, coefficient of MDA" in help_of(name)


def test_help_is_that_of_the_model_that_the_file_names(help_of, tmp_path):
    (tmp_path / "mine.yaml").write_text("model: lightgcn\n")
    assert help_of("train", "--config", str(tmp_path / "mine.yaml")) == help_of("train", "--model", "lightgcn")


def test_experiments_have_the_options_of_all_their_rows(help_of):
    text = help_of("experiments")
    for model in row_models(EXPERIMENTS):
        for option in schema(model):
            assert f" --{option.replace('_', '-')} " in text
    assert "--ROW.OPTION holds for one row alone" in text
    assert "options found for mde on a dataset" in text, "LightGCN's rows keep their own preset"


def test_choices_and_defaults(help_of):
    text = help_of("train")
    assert "--layer-combine {mean,sum} combine layers" in text
    assert f"--model {{{','.join(MODELS)}}} what to train: MDE (2025)" in text
    assert "(default: 5,10,20,50)" in text and "(default: 0.0001)" in text
    assert "--require-real [true|false]" in text
    assert "--minutes X stop after this many minutes" in text
    assert "100%" not in text and "%%" not in text


@pytest.mark.parametrize(
    "name, flags",
    [
        ("train", ["--config FILE YAML file", "--preset NAME options", "--output RUN run folder", "--resume RUN"]),
        (
            "search",
            [
                "--config FILE YAML file",
                "--preset NAME options found",
                "--output DIR folder of the search",
                "--space FILE YAML file of what is searched",
                "--print-space print what would be searched",
                "--trials N in all, earlier ones included (default: 50)",
                "--timeout TIME stop after so long",
                "--jobs N processes",
                "--pruner {median,none} median ends a trial",
                "--sampler-seed N of the proposals (default: 0)",
            ],
        ),
        (
            "evaluate",
            [
                "RUN run folder",
                "--topk K,K,... cut-offs",
                "--data-dir DIR where",
                "--beyond also hit rate",
                "--groups N,N,... with --beyond",
                "--json print JSON",
            ],
        ),
        (
            "recommend",
            [
                "RUN run folder",
                "--user ID user id",
                "--users-file FILE user ids",
                "--all-users every user",
                "--item ID items similar",
                "--k N how many",
                "--format {text,json,csv} of what is printed (default: text)",
                "--output FILE write a file",
                "--items-file FILE item ids",
                "--exclude-file FILE item ids",
                "--filter-seen {all,train,none} leave out",
                "--include-seen the same",
                "--candidates {known,content,all} recommend",
                "--unknown {refuse,popular,skip} ids",
            ],
        ),
        (
            "export",
            [
                "RUN run folder",
                "--output DIR folder to make",
                "--index {flat,hnsw,none} flat is exact",
                "--candidates {known,content,all} the index holds",
                "--k N the index is measured",
                "--json print JSON",
            ],
        ),
        (
            "experiments",
            [
                "EXPERIMENT table1, table2, figure2, precision, storage",
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


@pytest.mark.parametrize("name", ["train", "evaluate", "recommend", "export", "experiments", "search"])
def test_examples(help_of, name):
    assert f"examples: python -m mde_fast.{name}" in help_of(name)


@pytest.mark.parametrize("name", ["train", "evaluate", "recommend", "export", "inspect", "search"])
def test_the_program_is_called_as_it_is_typed(help_of, name):
    assert help_of(name).startswith(f"usage: python -m mde_fast.{name} [")


@pytest.mark.parametrize(
    "model, names", [("mde", "large, lfm2k, tiktok, none"), ("lightgcn", "default, large, lfm2k, none")]
)
def test_where_options_come_from(help_of, model, names):
    text = help_of("train", "--model", model)
    assert f"options found for {model} on a dataset; --config and flags win over them. {names}, or a YAML file" in text
    assert "An option that is not given has the value of the model's preset for the dataset" in text
    assert "--model NAME --help shows those of another" in text
    assert "the later wins, and flags win over all" in text


def test_a_flag_of_no_concern_is_not_shown(help_of):
    assert "--worker" not in help_of("search")
