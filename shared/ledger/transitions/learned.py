"""What an attempt has shown of a member, or of its mapping, as it is remembered."""

from sqlalchemy import text

from shared.ledger.email_addresses import key_sql

LEARN_USER = text("""
    insert into mapping (instance_id, user_object, oic_instance_id)
    select id, "user", oic_instance_id
    from json_to_recordset(cast(:rows as json)) as r (id bigint, "user" jsonb, oic_instance_id text)
    on conflict (instance_id)
    do update set user_object = excluded.user_object, oic_instance_id = excluded.oic_instance_id
""")
LEARN_APPLIED = text(f"""
    update member m
    set applied_id = i.id, applied_hash = i.content_hash, ct_user_id = coalesce(r.ct_user_id, m.ct_user_id),
        known_in_crowdtwist = m.known_in_crowdtwist or r.ct_user_id is not null, unknown_outcome = false,
        echoed = coalesce(r.echoed, m.echoed),
        held_email_key = case
            when r.echoed = cast('{{}}' as jsonb) then null
            when i.operation = 'delete' then coalesce({key_sql("r.echoed->>'email_address'")}, m.held_email_key)
            else coalesce({key_sql("r.echoed->>'email_address'")},
                          (select {key_sql("p.user_object->>'email_address'")}
                           from mapping p where p.instance_id = i.id)) end,
        read_back_at = case when m.lost_write_id is not null then now() + make_interval(secs => :settle_s) end
    from json_to_recordset(cast(:rows as json)) as r (id bigint, ct_user_id bigint, echoed jsonb)
    join instance i on i.id = r.id
    where m.member_number = i.member_number
""")
LEARN_TOLD = text("""
    update member m
    set row_id = coalesce(m.row_id, r.row_id), proven_row_id = coalesce(r.row_id, m.proven_row_id),
        told_status = r.told_status, told_error = r.told_error, told_id = i.id, told_at = now(),
        synced = (i.state = 'completed'),
        tell_again_at = case when m.lost_tell_id is not null then now() + make_interval(secs => :settle_s) end
    from json_to_recordset(cast(:rows as json)) as r (id bigint, row_id text, told_status text, told_error text)
    join instance i on i.id = r.id
    where m.member_number = i.member_number
""")
LEARN_TOLD_AGAIN = text("""
    update member m
    set row_id = coalesce(r.row_id, m.row_id), told_status = r.told_status, told_error = r.told_error, told_at = now()
    from json_to_recordset(cast(:rows as json)) as r (id bigint, row_id text, told_status text, told_error text)
    join instance i on i.id = r.id
    where m.member_number = i.member_number
""")
TROUBLED = text("""
    update member m
    set synced = false,
        unknown_outcome = m.unknown_outcome or (:stage = 'crowdtwist' and r.unsure and not m.known_in_crowdtwist)
    from json_to_recordset(cast(:rows as json)) as r (member_number text, unsure boolean)
    where m.member_number = r.member_number
""")
