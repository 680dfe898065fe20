"""A file that tells a probe from outside whether a process moves."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from django_strangler.monitoring import heartbeat


def test_a_heartbeat_file_that_cannot_be_had_is_one_line():
    with pytest.raises(CommandError, match="The heartbeat file cannot be written: "):
        call_command("drain_outbox", "--heartbeat-file", "/nowhere/alive")


def test_a_heartbeat_is_that_of_the_slowest(tmp_path, monkeypatch):
    now = [1_000.0]
    monkeypatch.setattr(heartbeat.time, "time", lambda: now[0])
    file = tmp_path / "alive"
    beat = heartbeat.Heartbeat(file, ["default", "other"]).beat

    now[0] += 10
    beat("default")
    assert file.stat().st_mtime == 1_000
    now[0] += 10
    beat("other")
    assert file.stat().st_mtime == 1_010


def test_a_heartbeat_that_cannot_be_written_harms_nobody(tmp_path, monkeypatch):
    now = [1_000.0]
    monkeypatch.setattr(heartbeat.time, "time", lambda: now[0])
    folder = tmp_path / "run"
    folder.mkdir()
    beat = heartbeat.Heartbeat(folder / "alive", ["default"]).beat
    (folder / "alive").unlink()
    folder.rmdir()

    now[0] += 10
    beat("default")

    assert not folder.exists()


def test_it_follows_no_link(tmp_path):
    victim, link = tmp_path / "victim", tmp_path / "beat"
    link.symlink_to(victim)

    with pytest.raises(OSError, match=str(link)):
        heartbeat.Heartbeat(link, ["relay"])

    assert not victim.exists()
