"""TLS towards a broker: the context, and what a failed handshake means for the one who has to act."""

import ssl

from collector.config_file import Tls
from collector.errors import ConfigError, Finding, UplinkError, UplinkLost, UplinkRefused

#: X509_V_ERR_* of OpenSSL (x509_vfy.h) that tell an operator apart what to do.
_CERTIFICATE_FAULTS = {
    9: "certificate is not valid yet: check the clock of this machine",
    10: "certificate has expired: renew it at the broker",
    18: "certificate is self-signed and not trusted: set tls.ca to the authority's PEM file",
    19: "certificate chain ends in an unknown authority: set tls.ca to the authority's PEM file",
    20: "certificate is signed by an unknown authority: set tls.ca to the authority's PEM file",
    21: "certificate's issuer cannot be checked: the broker must send its intermediate certificates",
    23: "certificate has been revoked",
    62: "certificate is for another host name: use the name it was made for",
    64: "certificate is for another IP address: use the name or address it was made for",
}


class _HandshakeSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; paho leaves that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def tls_context(tls: Tls) -> ssl.SSLContext:
    """A client context: TLS 1.2 or newer, certificate and host name always checked.

    Reads files, so call it off the event loop. Raises ConfigError when a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca)
    except (OSError, ValueError) as error:
        raise _unusable("ca", tls.ca, error, "give a PEM file that holds the authority's certificate") from error
    context.sslsocket_class = _HandshakeSocket
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.certificate is None:
        if tls.key is not None:
            raise _unusable("key", tls.key, "it stands alone", "give tls.certificate with it, or neither")
        return context
    try:
        # An empty passphrase makes an encrypted key an error; None would ask for it on the terminal and hang.
        context.load_cert_chain(tls.certificate, tls.key, password="")
    except (OSError, ValueError) as error:
        hint = "both PEM, the key unencrypted and belonging to the certificate, readable by this user"
        raise _unusable("certificate", tls.certificate, error, hint) from error
    return context


def handshake_error(url: str, error: Exception) -> UplinkError:
    """What a failed TLS handshake or an alert later on means: refused until somebody acts, or lost."""
    if isinstance(error, ssl.SSLCertVerificationError):
        fault = _CERTIFICATE_FAULTS.get(error.verify_code, error.verify_message)
        return UplinkRefused(f"{url}: TLS: the broker's {fault} (OpenSSL verify code {error.verify_code})")
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | TimeoutError) or not isinstance(
        error, ssl.SSLError
    ):
        return UplinkLost(f"{url}: TLS: the peer ended or stalled the handshake; is it the TLS port? ({error})")
    reason = error.reason or str(error)
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        return UplinkRefused(f"{url}: TLS: the peer does not speak TLS ({reason}): is this the plain-text port?")
    if "ALERT" in reason:
        return UplinkRefused(f"{url}: TLS: the broker rejected us ({reason}): see tls.certificate and tls.key")
    return UplinkRefused(f"{url}: TLS: {reason}")


def _unusable(key: str, path: str | None, error: Exception | str, hint: str) -> ConfigError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return ConfigError([Finding("broker.tls", key, path or "", f"cannot be used: {reason}", hint)])
