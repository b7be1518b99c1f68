"""TLS towards a device: the context, and what a failed handshake means for the one who has to act."""

import ssl

from drivers.address_settings import Tls
from drivers.errors import LinkUnavailable

#: X509_V_ERR_* of OpenSSL (x509_vfy.h): what to do about it.
_ADVICE = {
    9: "is the clock of this machine right?",
    10: "renew it in the device",
    18: "set ca= to that certificate, or to the authority that signs the plant's devices",
    19: "set ca= to the authority that signs the plant's devices",
    20: "set ca= to the authority that signs the plant's devices",
    21: "the device must send the whole chain",
    62: "set name= to a name that the certificate was made for",
    64: "set name= to a name that the certificate was made for",
}


def client_context(tls: Tls) -> ssl.SSLContext:
    """TLS 1.2 or newer, as the Modbus/TCP Security specification (V36) asks, certificate and name always checked.

    Reads files, so call it off the event loop. Raises LinkUnavailable naming the file that cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca or None)
    except (OSError, ValueError) as error:
        raise _unusable("ca", tls.ca, error, "a PEM file that holds the authority's certificate") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not tls.certificate:
        return context
    try:
        # An empty passphrase makes an encrypted key an error; None would ask for it on the terminal and hang.
        context.load_cert_chain(tls.certificate, tls.key or None, password="")
    except (OSError, ValueError) as error:
        hint = "both PEM, the key unencrypted and belonging to the certificate, readable by this user"
        raise _unusable("certificate", tls.certificate, error, hint) from error
    return context


def handshake_reason(error: Exception) -> str:
    """Why no secure connection came about, with what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = _ADVICE.get(error.verify_code, "see the device's certificate")
        return f"the device's certificate is not accepted: {error.verify_message} — {advice}"
    if not isinstance(error, ssl.SSLError):
        return f"the peer ended or stalled the handshake ({error}) — is it the secure port? 802 is usual"
    reason = error.reason or str(error)
    if "ALERT" in reason or "ALERT" in str(error):
        return f"the device rejected us ({reason}) — see certificate= and key=, and whom the device trusts"
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNEXPECTED_EOF_WHILE_READING"):
        return f"the peer does not speak TLS ({reason}) — is it the secure port? 802 is usual"
    return f"no secure connection: {reason}"


def _unusable(key: str, path: str, error: Exception, hint: str) -> LinkUnavailable:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return LinkUnavailable(f"{key} = {path}: cannot be used: {reason} — {hint}")
