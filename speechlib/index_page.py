"""outputs/index.html."""


def write(outputs) -> None:
    pass
