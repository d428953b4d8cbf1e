"""The page at /docs that shows openapi.json; it loads nothing from anywhere else."""

from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

router = APIRouter(include_in_schema=False)
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; connect-src 'self'; script-src 'self'; style-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@router.get("/")
def show_start() -> Response:
    """Lead a browser to where something is to be seen."""
    return RedirectResponse("/docs", 307)


def _show(name: str, media_type: str) -> Response:
    content = files("beatward.web").joinpath("pages", name).read_bytes()
    return Response(content, media_type=media_type, headers=_HEADERS)


@router.get("/docs")
def show_docs() -> Response:
    """Show the API's description."""
    return _show("docs.html", "text/html")


@router.get("/docs.js")
def show_docs_script() -> Response:
    """Return the page's script."""
    return _show("docs.js", "text/javascript")


@router.get("/docs.css")
def show_docs_style() -> Response:
    """Return the page's style."""
    return _show("docs.css", "text/css")
