"""The page at `/`."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from components.contracts.catalog import Item
from components.search.query import Found, Wanted
from serving import lookup, views
from serving.engine import LoadedBundle
from serving.item_search import find_items
from serving.problems import Problem, shorten
from serving.question import Call, Question
from serving.service import Service

_RESULTS = 12
_PICKS = 18
_MATCHES = 24
_LONGEST = 200
Ask = Callable[[LoadedBundle, Wanted], Awaitable[Found | None]]


class SearchPage:
    """Answers `/`."""

    def __init__(self, service: Service) -> None:
        """Keeps what all pages share."""
        self._service = service

    async def get(self, request: Request) -> Response:
        """The page for nothing, an item or words."""
        bundle = self._service.bundle()
        given = request.query_params
        choice = self._choice(bundle, given.get("department", ""), given.get("compare", ""))
        words = given.get("q", "").strip()[:_LONGEST]
        item = given.get("item", "") or (words if bundle.items.position(words) is not None else "")
        try:
            call = self._service.shedding.call(request, "/")
            if item:
                return await self._item(bundle, item, choice, call)
            if words:
                return await self._words(bundle, words, choice)
        except Problem as problem:
            return self._refuse(bundle, problem, choice)
        return self._show(bundle, choice=choice)

    async def post(self, request: Request) -> Response:
        """The page for a photo; a form without one is led to the page of its item or words."""
        bundle = self._service.bundle()
        request.state.fields = {}
        try:
            call = self._service.shedding.call(request, "/")
            photo = await self._service.photos.receive(request, call)
        except Problem as problem:
            fields = request.state.fields
            choice = self._choice(bundle, fields.get("department", ""), fields.get("compare", ""))
            if problem.reason in ("empty_image", "missing_image"):
                name = "q" if fields.get("q", "").strip() else "item"
                if value := fields.get(name, "").strip()[:_LONGEST]:
                    link = views.item_link(value, choice).replace("?item=", f"?{name}=", 1)
                    return RedirectResponse(link, status_code=303)
            return self._refuse(bundle, problem, choice)
        fields = request.state.fields
        choice = self._choice(bundle, fields.get("department", ""), fields.get("compare", ""))

        async def ask(other: LoadedBundle, wanted: Wanted) -> Found:
            found = await self._service.retrieval.like_photo(other, photo, wanted, call)
            self._service.tell_found(other, found, wanted, call.route)
            return found

        try:
            columns = await self._columns(bundle, choice, ask)
            shown = await self._service.photos.inline(photo, call)
        except Problem as problem:
            return self._refuse(bundle, problem, choice)
        size = f"{photo.query.format}, {photo.query.width} × {photo.query.height}"
        query = views.Tile("", "Your photo", size, shown)
        return self._show(bundle, choice=choice, query=query, columns=columns)

    async def _item(
        self, bundle: LoadedBundle, item_id: str, choice: views.Choice, call: Call
    ) -> Response:
        position = lookup.position(bundle, item_id)

        async def ask(other: LoadedBundle, wanted: Wanted) -> Found | None:
            there = other.items.position(item_id)
            if there is None:
                return None
            found = await self._service.retrieval.like_item(other, there, wanted, call)
            self._service.tell_found(other, found, wanted, call.route)
            return found

        columns = await self._columns(bundle, choice, ask)
        query = self._tile(bundle, bundle.items[position])
        return self._show(bundle, choice=choice, query=query, columns=columns)

    async def _words(self, bundle: LoadedBundle, words: str, choice: views.Choice) -> Response:
        positions = await asyncio.to_thread(find_items, bundle.items, words, limit=_MATCHES)
        matches = [
            self._tile(bundle, bundle.items[position])
            for position in positions
            if position not in bundle.withdrawn
        ]
        return self._show(bundle, choice=choice, matches=matches, words=words)

    async def _columns(
        self, bundle: LoadedBundle, choice: views.Choice, ask: Ask
    ) -> list[views.Column]:
        bundles = [bundle]
        bundles += [other for other in self._others() if other.version == choice.compare][:1]
        columns = []
        for one in bundles:
            try:
                wanted = lookup.wanted(one, Question(_RESULTS, choice.department))
            except Problem:
                columns.append(views.Column(one.version, (), "It has no such department."))
                continue
            found = await ask(one, wanted)
            if found is None:
                columns.append(views.Column(one.version, (), "It does not have this item."))
                continue
            note = _not_loaded(choice) if choice.gone else ""
            if found.starved:
                why = (
                    "The filter leaves"
                    if choice.department
                    else "Without withdrawn items there are"
                )
                note += f"{why} {len(found.positions)} of {_RESULTS} results."
            tiles = [self._tile(one, hit.item, hit.score) for hit in one.hits(found)]
            columns.append(views.Column(one.version, tiles, note))
        return columns

    def _choice(self, bundle: LoadedBundle, department: str, compare: str) -> views.Choice:
        departments = bundle.taxa.departments()
        versions = [other.version for other in self._others() if other.version != bundle.version]
        others = list(dict.fromkeys(versions))
        return views.Choice(
            departments,
            department if department in dict(departments) else "",
            others,
            compare if compare in others else "",
            compare if compare not in (*others, bundle.version) else "",
        )

    def _others(self) -> list[LoadedBundle]:
        """Returns the other bundles in memory: the one before, and the one on trial."""
        trial = self._service.trial
        found = (self._service.engine.previous, trial.engine.current if trial else None)
        return [bundle for bundle in found if bundle is not None]

    def _tile(self, bundle: LoadedBundle, item: Item, score: float | None = None) -> views.Tile:
        """Returns an item as the page shows it."""
        picture = ""
        if self._service.pictures.enabled:
            picture = f"/v1/items/{quote(item.item_id, safe='')}/thumbnail"
        return views.Tile(item.item_id, item.title, bundle.taxon_path(item), picture, score)

    def _refuse(self, bundle: LoadedBundle, problem: Problem, choice: views.Choice) -> Response:
        return self._show(
            bundle, problem.status, problem.headers, choice=choice, error=problem.detail
        )

    def _show(
        self,
        bundle: LoadedBundle,
        status: int = 200,
        more: dict[str, str] | None = None,
        **parts: Any,
    ) -> Response:
        started = time.perf_counter()
        items = bundle.items
        chosen = random.sample(range(len(items)), min(_PICKS, len(items)))
        page = views.render(
            version=bundle.version,
            items=len(items),
            picks=[
                self._tile(bundle, items[position])
                for position in chosen
                if position not in bundle.withdrawn
            ],
            **parts,
        )
        self._service.telemetry.stage("/", "render", time.perf_counter() - started)
        headers = {
            **(more or {}),
            "Content-Security-Policy": views.CONTENT_SECURITY_POLICY,
            "X-Lookalike-Bundle": bundle.version,
        }
        return HTMLResponse(page, status_code=status, headers=headers)


def add(app: FastAPI, service: Service) -> None:
    """Adds the page at `/`."""
    page = SearchPage(service)
    app.add_route("/", page.get, methods=["GET"], include_in_schema=False)
    app.add_route("/", page.post, methods=["POST"], include_in_schema=False)


def _not_loaded(choice: views.Choice) -> str:
    """Returns why nothing is compared; in memory are what is live, what was, and the trial's."""
    kept = f"; {' or '.join(choice.others)} can be compared" if choice.others else ""
    return f"Version {shorten(choice.gone)} is not in this server's memory{kept}. "
