"""A folder in a bucket, such as s3://bucket/served, through fsspec. Keys and endpoint come from the usual variables."""

from typing import Any, Final

CURRENT: Final = "current.json"  # names the served models; written last, in one request
# Few and short attempts: the caller tries again, and nothing waits for it
OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "s3": {"config_kwargs": {"connect_timeout": 2, "read_timeout": 10, "retries": {"total_max_attempts": 2}}}
}


def is_url(place: str) -> bool:
    """Whether `place` is a URL, as opposed to a local folder."""
    return "://" in place


def open_bucket(url: str) -> tuple[Any, str]:
    """The file system of a URL and the path in it. Connects to nothing. Raises ValueError if it cannot be used here."""
    import fsspec

    options = OPTIONS.get(url.partition("://")[0], {})
    try:
        files, root = fsspec.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True, **options)
    except (ImportError, ValueError) as error:
        hint = "the requirements of the variant `cluster` include s3fs for s3://"
        raise ValueError(f"{url} cannot be used: {error}; {hint}") from None
    files.retries = 1  # of s3fs, around each of those attempts
    return files, root.rstrip("/")
