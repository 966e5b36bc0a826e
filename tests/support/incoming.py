"""DMARC reports as others send them."""


def report(
    name: str, *, org: str = "r.example", domain: str = "a.example", source: str = "192.0.2.1", end: str = "1700086399"
) -> bytes:
    """1200 messages that pass, and 34 of another source that fail with a valid signature of a list."""
    record = (
        "<record><row><source_ip>{source}</source_ip><count>{count}</count><policy_evaluated><disposition>none"
        "</disposition><dkim>{dkim}</dkim><spf>fail</spf></policy_evaluated></row><identifiers><header_from>a.example"
        "</header_from></identifiers><auth_results><dkim><domain>list.example</domain><result>pass</result></dkim>"
        "</auth_results></record>"
    )
    return (
        f"<feedback><report_metadata><org_name>{org}</org_name><report_id>{name}</report_id><date_range>"
        f"<begin>1700000000</begin><end>{end}</end></date_range></report_metadata><policy_published><domain>{domain}"
        "</domain><p>none</p></policy_published>"
        + record.format(source=source, count=1200, dkim="pass")
        + record.format(source="203.0.113.9", count=34, dkim="fail")
        + "</feedback>"
    ).encode()
