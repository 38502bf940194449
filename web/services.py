"""The services that the portal uses: one of each, opened once for the process and stored in the Flask app."""

from dataclasses import dataclass

from flask import Flask, current_app

from farm.config import Settings
from farm.db.connection import Database, Role
from farm.pictures.uploads import Desk
from farm.queue.doorbell import Doorbell
from farm.queue.progress import ProgressBoard
from farm.reports.gallery import Links
from farm.store.protocol import Store, open_store

_NAME = "farm"


@dataclass(frozen=True)
class Services:
    """The farm as this portal reaches it. Nothing is connected before it is first used."""

    settings: Settings
    database: Database
    doorbell: Doorbell
    store: Store
    progress: ProgressBoard

    @classmethod
    def of(cls, settings: Settings) -> "Services":
        return cls(
            settings=settings,
            database=Database.of(settings, Role.PORTAL),
            doorbell=Doorbell(settings.required_redis_url),
            store=open_store(settings),
            progress=ProgressBoard(settings.required_redis_url),
        )

    @property
    def links(self) -> Links:
        """How links to what is stored are made."""
        return Links(self.store, self.settings.link_seconds)

    def desk_of(self, user: str) -> Desk:
        """Where a user hands in pictures."""
        return Desk(self.database, self.store, self.settings, user)

    def install(self, app: Flask) -> None:
        """Let `services()` find these in every request of the app."""
        app.extensions[_NAME] = self

    def close(self) -> None:
        self.database.close()
        self.doorbell.close()
        self.progress.close()


def services() -> Services:
    """The services of the app that answers the current request."""
    found: Services = current_app.extensions[_NAME]
    return found
