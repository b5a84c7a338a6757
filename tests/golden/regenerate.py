"""Write the golden files anew: `python -m tests.golden.regenerate`. Read the difference first."""

from tests.golden.examples import EXAMPLES
from tests.golden.renderings import FORMS, HERE, path_of, rendered


def main() -> None:
    """Write every rendering, and drop those of removed examples."""
    wanted = {path_of(form, example): rendered(form, example) for form in FORMS for example in EXAMPLES}
    for form in FORMS:
        (HERE / form).mkdir(exist_ok=True)
        for path in (HERE / form).iterdir():
            if path not in wanted:
                path.unlink()
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
