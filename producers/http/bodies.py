"""Reading a request's body, no more of it than is allowed."""

from fastapi import Request

from producers.http.problems import ProblemError


async def read_limited(request: Request, limit: int) -> bytes:
    """Read the body.

    Raises:
        ProblemError: 413, it is larger than *limit* bytes.
    """
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(limit: int) -> ProblemError:
    # The rest of the body is not read: the connection cannot be used again.
    return ProblemError(413, "body_too_large", f"the body is larger than {limit} bytes", {"Connection": "close"})
