"""The crowdtwist stage against its simulator, as a resend has it: sent once more, and nobody is created by mistake."""

from dataclasses import replace

from deploy.sandbox.server import SandboxControl
from shared.errors import DataError
from shared.instances import Errand
from shared.settings import Settings
from tests.crowdtwist_stage import CREATE, DELETE, UPDATE, USER, done, failed, methods, stored


def test_a_resend_is_one_put_of_what_was_acknowledged(settings: Settings, control: SandboxControl) -> None:
    done(settings, CREATE)
    result = done(settings, replace(UPDATE, errand=Errand.RESEND, user=USER | {"last_name": "Smith"}))
    assert methods(result) == ["PUT"]
    assert result.facts["echoed"]["last_name"] == stored(control)["last_name"] == "Smith"
    assert methods(done(settings, replace(DELETE, errand=Errand.RESEND))) == ["PUT"]
    assert stored(control)["is_active"] is False


def test_a_resend_creates_nobody_and_a_recreate_does(settings: Settings, control: SandboxControl) -> None:
    gone = done(settings, replace(UPDATE, errand=Errand.RESEND))
    assert (methods(gone), gone.facts) == (["PUT"], {"gone": True})
    assert control.users() == []
    again = done(settings, replace(UPDATE, errand=Errand.RECREATE))
    assert methods(again) == ["PUT", "POST"]
    assert again.facts["ct_user_id"] == stored(control)["id"]
    nobody = done(settings, replace(DELETE, errand=Errand.RECREATE, member_number="296-9"))
    assert methods(nobody) == ["PUT"]
    assert control.user("296-9") is None


def test_a_deletion_is_sent_again_with_the_content_before_it(settings: Settings, control: SandboxControl) -> None:
    done(settings, CREATE)
    lost = USER | {"email_address": "andy@example.org", "is_active": 0}
    result = done(settings, replace(DELETE, errand=Errand.RESEND, user=lost))
    assert methods(result) == ["PUT"]
    assert (stored(control)["email_address"], stored(control)["is_active"]) == ("andy@example.org", False)
    again = done(settings, replace(DELETE, errand=Errand.RESEND, user=lost))
    assert (methods(again), stored(control)["is_active"]) == (["PUT"], False)


def test_a_deletion_whose_content_is_refused_makes_inactive_all_the_same(
    settings: Settings, control: SandboxControl
) -> None:
    done(settings, CREATE)
    refused = USER | {"postal_code": "00000", "is_active": 0}
    result = done(settings, replace(DELETE, errand=Errand.RESEND, user=refused))
    assert methods(result) == ["PUT", "PUT"]
    assert (stored(control)["postal_code"], stored(control)["is_active"]) == ("10010", False)


def test_a_resend_that_is_refused_stands_in_their_words(settings: Settings, control: SandboxControl) -> None:
    done(settings, CREATE)
    refused = replace(UPDATE, errand=Errand.RESEND, user=USER | {"postal_code": "00000"})
    result = failed(settings, refused)
    assert (type(result.error), result.error.what) == (DataError, "Postal Code is invalid")
    assert stored(control)["postal_code"] == "10010"


def test_who_is_parked_keeps_all_but_the_address_and_nobody_is_created(
    settings: Settings, control: SandboxControl
) -> None:
    gone = done(settings, replace(UPDATE, errand=Errand.PARK))
    assert (methods(gone), gone.facts) == (["PUT"], {"gone": True})
    done(settings, CREATE)
    result = done(settings, replace(UPDATE, errand=Errand.PARK, user=USER | {"last_name": "Smith"}))
    address = settings.oic.default_email(CREATE.member_number)
    assert methods(result) == ["PUT"]
    assert result.facts["echoed"]["email_address"] == stored(control)["email_address"] == address
    assert stored(control)["last_name"] == "Smith"
