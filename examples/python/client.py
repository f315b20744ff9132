#!/usr/bin/env python3
"""Records a consent, asks before a message, withdraws the consent, and asks again.

Everything it knows of the service comes from proto/ alone. It sends no message: where a real sender
would, it prints. `Gate` is the part to take over into a sender.
"""

import argparse
import importlib
import pathlib
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass

import grpc
import grpc_tools
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from grpc_tools import protoc

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"

# Longest wait for one answer. A sender that gives up has no answer, and so does not send.
TIMEOUT_S = 5.0

# How often a write is repeated. A real sender keeps a withdrawal until it is acknowledged.
ATTEMPTS = 5

# The request itself is at fault, or this server cannot serve it: to repeat it does not help.
FINAL = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
}


def load_contract(proto, generated):
    """Compiles the .proto files below `proto` into the directory `generated`, and imports them."""
    files = sorted(str(file) for file in proto.glob("consentgate/v1/*.proto"))
    if not files:
        raise SystemExit(f"there is no contract in {proto}")
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    failed = protoc.main(
        [
            "protoc",
            f"--proto_path={proto}",
            f"--proto_path={well_known}",
            f"--python_out={generated}",
            f"--grpc_python_out={generated}",
            *files,
        ]
    )
    if failed:
        raise SystemExit("the contract does not compile")
    sys.path.insert(0, str(generated))
    package = "consentgate.v1"
    return (
        importlib.import_module(f"{package}.types_pb2"),
        importlib.import_module(f"{package}.consent_service_pb2"),
        importlib.import_module(f"{package}.consent_service_pb2_grpc"),
    )


@dataclass(frozen=True)
class Verdict:
    """Whether to send. False unless the gate said ALLOW."""

    allowed: bool
    # The gate's decision, or the error that kept it from deciding.
    answer: str
    # Why, the decisive reason first.
    reasons: tuple = ()
    # Stored with the message, so that the send can be tied to the decision.
    decision_id: str = ""
    # On this machine's monotonic clock: after that ask again.
    expires: float = 0.0

    def permits_now(self):
        return self.allowed and time.monotonic() < self.expires


class Gate:
    """The service as a sender uses it."""

    def __init__(self, channel, contract):
        self.types, self.messages, services = contract
        self.stub = services.ConsentServiceStub(channel)

    def check(self, business, phone_number, purpose):
        """Asks. Whatever goes wrong, the answer is a Verdict, and it does not permit to send."""
        request = self.messages.CheckConsentRequest(
            business_id=business,
            recipient=self.types.Recipient(phone_number=phone_number),
            purpose=purpose,
        )
        asked = time.monotonic()
        try:
            response = self.stub.CheckConsent(request, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            return Verdict(False, f"undecided, {describe(error)}")
        return Verdict(
            # A value that this client does not know is not ALLOW.
            allowed=response.decision == self.types.DECISION_ALLOW,
            answer=word(self.types.Decision, response.decision),
            reasons=tuple(word(self.types.Reason, reason) for reason in response.reasons),
            decision_id=response.decision_id,
            expires=asked + response.valid_for.ToTimedelta().total_seconds(),
        )

    def record(self, business, phone_number, purpose, notice):
        """Records that the person ticked a box, now."""
        types = self.types
        request = self.messages.RecordConsentRequest(
            business_id=business,
            recipient=types.Recipient(phone_number=phone_number),
            purposes=[purpose],
            event_time=now(),
            indication_method=types.INDICATION_METHOD_UNTICKED_CHECKBOX,
            consent_type=types.CONSENT_TYPE_EXPLICITLY_EXPRESSED,
            notice=notice,
            evidence=types.Evidence(source_url="https://acme-outdoor.example/join", form_id="join"),
            # State only what is true of the form: false, or nothing said, may make the consent void.
            declarations=types.Declarations(
                default_unticked=True,
                separate_from_terms=True,
                whatsapp_named=True,
                number_entered_by_subject=True,
            ),
            actor="examples/python",
            idempotency_key=str(uuid.uuid4()),
        )
        response = repeat(self.stub.RecordConsent, request)
        return word(types.ConsentState, response.records[0].state)

    def withdraw(self, business, phone_number, purpose):
        """Ends the consent. Once this returns, the gate allows nothing from before it."""
        types = self.types
        request = self.messages.WithdrawRequest(
            business_id=business,
            recipient=types.Recipient(phone_number=phone_number),
            scope=types.WithdrawalScope(purposes=[purpose]),
            event_time=now(),
            withdrawal_method=types.WITHDRAWAL_METHOD_PREFERENCE_CENTER,
            actor="examples/python",
            idempotency_key=str(uuid.uuid4()),
        )
        response = repeat(self.stub.Withdraw, request)
        return response.effective_at.ToJsonString()


def repeat(rpc, request):
    """Calls until it succeeds, with the same idempotency key, so that it counts once.

    An error, a lost connection and a deadline that passed leave open whether the write was done.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return rpc(request, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            if error.code() in FINAL or attempt == ATTEMPTS:
                raise
            time.sleep(retry_delay(error, default=0.1 * 2**attempt))


def details(error):
    """The messages of google.rpc that came with an error."""
    try:
        status = rpc_status.from_call(error)
    except ValueError:  # the details contradict the error: better none
        return
    kinds = (
        error_details_pb2.BadRequest,
        error_details_pb2.ErrorInfo,
        error_details_pb2.PreconditionFailure,
        error_details_pb2.RetryInfo,
    )
    for packed in status.details if status else ():
        for kind in kinds:
            detail = kind()
            if packed.Unpack(detail):
                yield detail


def retry_delay(error, default):
    """How many seconds the server asks to wait, or `default`."""
    for detail in details(error):
        if isinstance(detail, error_details_pb2.RetryInfo):
            return detail.retry_delay.ToTimedelta().total_seconds()
    return default


def describe(error):
    """An error in a line for each thing that is wrong. Never contains a phone number."""
    lines = [error.code().name]
    faults = []
    for detail in details(error):
        if isinstance(detail, error_details_pb2.ErrorInfo):
            lines[0] += f" ({detail.reason})"
        elif isinstance(detail, error_details_pb2.BadRequest):
            faults += [f"{fault.field}: {fault.description}" for fault in detail.field_violations]
        elif isinstance(detail, error_details_pb2.PreconditionFailure):
            faults += [f"{fault.subject}: {fault.description}" for fault in detail.violations]
    return "\n  ".join(lines + (faults or [error.details()]))


def word(enum, number):
    """The name of an enum value, or its number if this client does not know it."""
    return enum.Name(number) if number in enum.values() else str(number)


def now():
    time_now = Timestamp()
    time_now.GetCurrentTime()
    return time_now


def send(verdict, text):
    """Where a real sender would call WhatsApp, with the decision's id beside the message."""
    print(f"check:    {verdict.answer} {' '.join(verdict.reasons)}".rstrip())
    if verdict.permits_now():
        print(f"          sent: {text!r}")
    else:
        print("          not sent")


def run(gate, contract, arguments):
    person = (arguments.business, arguments.recipient, arguments.purpose)
    notice = contract[0].NoticeRef(notice_id="signup", version=2, language="en")
    text = "Your parcel is on its way."

    print("record:  ", gate.record(*person, notice))
    send(gate.check(*person), text)
    print("withdraw:", "effective at", gate.withdraw(*person))
    send(gate.check(*person), text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default="127.0.0.1:50051", help="HOST:PORT (default: %(default)s)")
    parser.add_argument("--business", default="acme", help="slug of the business (default: %(default)s)")
    parser.add_argument("--purpose", default="order-updates", help="key of a purpose (default: %(default)s)")
    # A number for fiction, whose country needs no second confirmation by the built-in policy.
    parser.add_argument("--recipient", default="+12025550100", help="+NUMBER (default: %(default)s)")
    arguments = parser.parse_args()

    # The gate is beside its callers: a proxy of the environment is not meant for it.
    options = [("grpc.enable_http_proxy", 0)]
    with tempfile.TemporaryDirectory() as generated:
        contract = load_contract(PROTO, generated)
        with grpc.insecure_channel(arguments.server, options=options) as channel:
            try:
                run(Gate(channel, contract), contract, arguments)
            except grpc.RpcError as error:
                print(f"failed: {describe(error)}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
