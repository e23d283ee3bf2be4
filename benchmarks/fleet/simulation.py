"""A discrete-event simulation of fronts and devices under a demand, with the server's own queue.

`JobQueue` is the server's: priorities, fair turns and full queues are not modeled, they happen. Around it is what the
server does: a device takes the next job when it is free; the loss of a device fails its job; the jobs of a lost front
run again elsewhere once their leases have expired, and fail the second time; a job that waited longer than its deadline
fails. SimPy keeps the clock.
"""

from __future__ import annotations

import math
import random
import zlib
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import simpy
from clipstyler_server.jobs.queue import JobQueue
from clipstyler_server.sharing import Caller
from clipstyler_server.turns import QueueFullError

from benchmarks.fleet.demand import Arrival

SAMPLE_S = 60.0
_Process = Generator[simpy.Event, Any, None]
_MOST_ATTEMPTS = 2


@dataclass(frozen=True)
class Fleet:
    """What there is.

    Attributes
    ----------
    fronts
        Front processes; each has its share of the devices.
    one_queue
        Whether all fronts feed from one queue, or each from its own; a balancer then sends an account to its front.
    capacity
        Jobs that may wait in a queue.
    device_mtbf_s, front_mtbf_s
        Mean time between failures of one of them.
    device_repair_s, front_repair_s
        Until it works again.
    lease_s
        Until the jobs of a lost front are taken over.
    deadline_s
        That a job may wait.
    """

    devices: int
    fronts: int = 1
    one_queue: bool = False
    capacity: int = 10_000
    device_mtbf_s: float = math.inf
    device_repair_s: float = 600.0
    front_mtbf_s: float = math.inf
    front_repair_s: float = 5.0
    lease_s: float = 30.0
    deadline_s: float = 1800.0


@dataclass(frozen=True)
class Sample:
    """The fleet at one moment: jobs that arrived since the last one, and those that run and wait now."""

    at_s: float
    arrived: int
    running: int
    waiting: int


@dataclass
class Outcome:
    """What happened.

    Attributes
    ----------
    waits
        By class, when each job that succeeded had arrived, and how long it waited for the start of that run.
    rejected
        Jobs that found every place taken, or no front.
    failed
        Jobs whose device was lost, or twice their front.
    expired
        Jobs that waited longer than their deadline.
    resumed
        Runs that began again after the loss of a front.
    busy_s
        Seconds of work of all devices together.
    seconds
        Until the last job ended.
    """

    waits: defaultdict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    arrived: int = 0
    succeeded: int = 0
    rejected: int = 0
    failed: int = 0
    expired: int = 0
    resumed: int = 0
    busy_s: float = 0.0
    seconds: float = 0.0
    samples: list[Sample] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class _Ticket:
    """A job as the queue sees it, and what the simulation needs."""

    id: str
    priority: int
    caller: Caller
    arrival: Arrival
    attempts: int = 0


class _Line:
    """A queue, the devices that wait for its jobs, and how many are ready and run one."""

    def __init__(self, capacity: int) -> None:
        self.queue = JobQueue[_Ticket](capacity)
        self.idle: dict[_Device, simpy.Event] = {}
        self.ready = self.running = 0

    def wake(self) -> None:
        """Let a free device look for a job, if there is one of each."""
        if self.idle and len(self.queue):
            self.idle.pop(next(iter(self.idle))).succeed()


@dataclass(eq=False)
class _Front:
    line: _Line
    back: simpy.Event
    devices: list[_Device] = field(default_factory=list)
    is_up: bool = True


@dataclass(eq=False, slots=True)
class _Device:
    front: _Front
    process: simpy.Process | None = None
    is_up: bool = True
    ticket: _Ticket | None = None
    begun_s: float = 0.0


def simulate(fleet: Fleet, arriving: Iterable[Arrival], seed: int = 0, begin_s: float = 0.0) -> Outcome:
    """Run the jobs that arrive from a time on until the last one has ended; the same outcome for the same arguments."""
    return _Simulation(fleet, arriving, seed, begin_s).run()


class _Simulation:
    def __init__(self, fleet: Fleet, arriving: Iterable[Arrival], seed: int, begin_s: float) -> None:
        self._fleet = fleet
        self._random = random.Random(seed)
        self._begin_s = begin_s
        self._env = env = simpy.Environment(begin_s)
        self._outcome = Outcome()
        self._open = 0  # jobs that were accepted and have not ended
        self._all_arrived = False
        self._finished = env.event()
        shared = _Line(fleet.capacity)
        self._fronts = [
            _Front(shared if fleet.one_queue else _Line(fleet.capacity), env.event()) for _ in range(fleet.fronts)
        ]
        self._lines = list(dict.fromkeys(front.line for front in self._fronts))
        self._devices = [_Device(self._fronts[number % fleet.fronts]) for number in range(fleet.devices)]
        for device in self._devices:
            device.front.devices.append(device)
            device.front.line.ready += 1
            device.process = env.process(self._live(device))
        env.process(self._arrive(iter(arriving)))
        env.process(self._sample())
        if fleet.device_mtbf_s < math.inf:
            env.process(self._lose_devices())
        if fleet.front_mtbf_s < math.inf:
            env.process(self._lose_fronts())

    def run(self) -> Outcome:
        self._env.run(until=self._finished)
        self._outcome.seconds = self._env.now - self._begin_s
        return self._outcome

    def _arrive(self, arriving: Iterator[Arrival]) -> _Process:
        for number, arrival in enumerate(arriving):
            if arrival.at_s > self._env.now:
                yield self._env.timeout(arrival.at_s - self._env.now)
            self._outcome.arrived += 1
            caller = Caller(arrival.account, arrival.client)
            self._accept(_Ticket(str(number), arrival.priority, caller, arrival))
        self._all_arrived = True
        self._finish_if_done()

    def _accept(self, ticket: _Ticket) -> None:
        line = self._choose_line(ticket.caller.account)
        if line is None:
            self._outcome.rejected += 1
            return
        try:
            with line.queue.reserve(max(0, line.ready - line.running), ticket.caller.account):
                self._open += 1
                self._put(line, ticket)
        except QueueFullError:
            self._outcome.rejected += 1

    def _choose_line(self, account: str) -> _Line | None:
        """Choose the front of an account, or the next one that is up, as a balancer does; None if all are down."""
        first = zlib.crc32(account.encode()) % len(self._fronts)
        turned = (*self._fronts[first:], *self._fronts[:first])
        return next((front.line for front in turned if front.is_up), None)

    def _put(self, line: _Line, ticket: _Ticket) -> None:
        line.queue.put(ticket)
        line.wake()

    def _live(self, device: _Device) -> _Process:
        """Run jobs, be lost, be repaired."""
        while True:
            try:
                yield from self._run_jobs(device)
            except simpy.Interrupt as loss:
                self._stop(device, by_front=loss.cause is device.front)
                yield self._env.timeout(self._fleet.device_repair_s if loss.cause is device else 0)
                while not device.front.is_up:
                    yield device.front.back
                device.is_up = True
                device.front.line.ready += 1

    def _run_jobs(self, device: _Device) -> _Process:
        line = device.front.line
        while True:
            ticket = self._take(line)
            if ticket is None:
                line.idle[device] = free = self._env.event()
                yield free
                continue
            device.ticket, device.begun_s = ticket, self._env.now
            line.running += 1
            yield self._env.timeout(ticket.arrival.service_s)
            self._leave(device)
            arrival = ticket.arrival
            self._outcome.succeeded += 1
            self._outcome.waits[arrival.kind].append((arrival.at_s, device.begun_s - arrival.at_s))
            self._end()

    def _take(self, line: _Line) -> _Ticket | None:
        """Take the next job whose deadline has not passed."""
        while ticket := line.queue.pop():
            if self._env.now - ticket.arrival.at_s <= self._fleet.deadline_s:
                ticket.attempts += 1
                return ticket
            self._outcome.expired += 1
            self._end()
        return None

    def _leave(self, device: _Device) -> None:
        device.ticket = None
        device.front.line.running -= 1
        self._outcome.busy_s += self._env.now - device.begun_s

    def _stop(self, device: _Device, by_front: bool) -> None:
        """End what a lost device was doing."""
        device.front.line.idle.pop(device, None)
        ticket = device.ticket
        if ticket is None:
            return
        self._leave(device)
        if by_front and ticket.attempts < _MOST_ATTEMPTS:
            self._env.process(self._resume(ticket))
            return
        self._outcome.failed += 1
        self._end()

    def _resume(self, ticket: _Ticket) -> _Process:
        """Queue a job of a lost front again once its lease has expired."""
        yield self._env.timeout(self._fleet.lease_s)
        while (line := self._choose_line(ticket.caller.account)) is None:
            yield self._fronts[0].back
        self._outcome.resumed += ticket.attempts > 0
        self._put(line, ticket)

    def _end(self) -> None:
        self._open -= 1
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if self._all_arrived and not self._open and not self._finished.triggered:
            self._finished.succeed()

    def _lose_devices(self) -> _Process:
        while True:
            yield self._env.timeout(self._random.expovariate(len(self._devices) / self._fleet.device_mtbf_s))
            device = self._random.choice(self._devices)
            if device.is_up:
                self._lose(device, cause=device)

    def _lose_fronts(self) -> _Process:
        while True:
            yield self._env.timeout(self._random.expovariate(len(self._fronts) / self._fleet.front_mtbf_s))
            front = self._random.choice(self._fronts)
            if front.is_up:
                front.is_up = False
                for device in front.devices:
                    if device.is_up:
                        self._lose(device, cause=front)
                while not self._fleet.one_queue and (ticket := front.line.queue.pop()):
                    self._env.process(self._resume(ticket))
                self._env.process(self._restart(front))

    def _lose(self, device: _Device, cause: _Device | _Front) -> None:
        device.is_up = False
        device.front.line.ready -= 1
        assert device.process is not None
        device.process.interrupt(cause)

    def _restart(self, front: _Front) -> _Process:
        yield self._env.timeout(self._fleet.front_repair_s)
        front.is_up = True
        front.back.succeed()
        front.back = self._env.event()

    def _sample(self) -> _Process:
        """Note how many jobs arrived, run and wait, as long as jobs arrive."""
        before = 0
        while not self._all_arrived:
            yield self._env.timeout(SAMPLE_S)
            arrived = self._outcome.arrived
            running = sum(line.running for line in self._lines)
            waiting = sum(len(line.queue) for line in self._lines)
            self._outcome.samples.append(Sample(self._env.now, arrived - before, running, waiting))
            before = arrived
