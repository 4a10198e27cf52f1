"""The hand-built stack's one table, as an ORM class."""

import os
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import DateTime, create_engine, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

# FastAPI runs plain functions in 40 threads. Tuned, none of them waits for a connection; otherwise the pools are
# as SQLAlchemy (5 and 10 more) and Celery (10) make them.
THREADS = 40
TUNED = os.environ.get("HANDBUILT_TUNED") == "1"


class Base(DeclarativeBase):
    pass


class Job(Base):
    __tablename__ = "jobs"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    task: Mapped[str]
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    state: Mapped[str] = mapped_column(default="queued", index=True)
    result: Mapped[Any | None] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    started_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


engine = create_engine(os.environ["DATABASE_URL"], **({"pool_size": THREADS, "max_overflow": 0} if TUNED else {}))
Session = sessionmaker(engine)

if __name__ == "__main__":
    Base.metadata.create_all(engine)
