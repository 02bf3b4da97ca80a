"""Everything that sleepwalker raises.

```
SleepwalkerException
├─ ConnectionError                 also requests.ConnectionError
│  ├─ URLError                     also requests InvalidURL (a ValueError)
│  │  └─ InsecureAuthError
│  ├─ AuthenticationError
│  ├─ CircuitOpenError · BulkheadFullError · RateLimitedError · HostIsolatedError
│  ├─ DeadlineExceeded             also requests Timeout and the builtin TimeoutError
│  ├─ ConnectError
│  ├─ ConnectTimeout               also requests ConnectTimeout
│  ├─ TLSError                     also requests SSLError
│  ├─ ReadError                    also requests ChunkedEncodingError
│  ├─ ReadTimeout                  also requests ReadTimeout
│  ├─ ProxyError                   also requests ProxyError
│  ├─ RedirectError                also requests TooManyRedirects
│  ├─ DecodeError                  also requests JSONDecodeError (a ValueError)
│  └─ DownloadError
│     └─ ChecksumError
├─ HTTPError                       also requests.HTTPError
│  ├─ ClientHTTPError              one class per status, 400 to 431
│  └─ ServerHTTPError              one class per status, 500 to 511
├─ PolicyError                     also ValueError
├─ ServiceException
│  └─ MissingServiceDef · ResourceException · TypeException
└─ MissingVariable · InvalidParameter · RelationError · LinkError · DataPullError ·
   DataNotSetError · FragmentError
```

No text of an exception holds a credential, a header, a query string or a body, with one exception:
the text of an `HTTPError` is the server's own `error_text`. All of them can be pickled and copied: a copy has the
response's status, headers and body, and of what was sent the method and the URL without its query, nothing else.
"""

from __future__ import annotations

from sleepwalker.exceptions.base import PolicyError, SleepwalkerException
from sleepwalker.exceptions.calls import (
    AuthenticationError,
    BulkheadFullError,
    ChecksumError,
    CircuitOpenError,
    ConnectError,
    ConnectionError,
    ConnectTimeout,
    DeadlineExceeded,
    DecodeError,
    DownloadError,
    HostIsolatedError,
    InsecureAuthError,
    ProxyError,
    RateLimitedError,
    ReadError,
    ReadTimeout,
    RedirectError,
    TLSError,
    URLError,
)
from sleepwalker.exceptions.services import (
    DataNotSetError,
    DataPullError,
    FragmentError,
    InvalidParameter,
    LinkError,
    MissingServiceDef,
    MissingVariable,
    RelationError,
    ResourceException,
    ServiceException,
    TypeException,
)
from sleepwalker.exceptions.statuses import (
    ClientHTTPError,
    HTTPBadGateway,
    HTTPBadRequest,
    HTTPConflict,
    HTTPError,
    HTTPExpectationFailed,
    HTTPForbidden,
    HTTPGatewayTimeout,
    HTTPGone,
    HTTPImATeapot,
    HTTPInternalServerError,
    HTTPLengthRequired,
    HTTPMethodNotAllowed,
    HTTPNetworkAuthenticationRequired,
    HTTPNotAcceptable,
    HTTPNotExtended,
    HTTPNotFound,
    HTTPNotImplemented,
    HTTPPaymentRequired,
    HTTPPreconditionFailed,
    HTTPPreconditionRequired,
    HTTPProxyAuthenticationRequired,
    HTTPRequestedRangeNotSatisfiable,
    HTTPRequestEntityTooLarge,
    HTTPRequestHeaderFieldsTooLarge,
    HTTPRequestTimeout,
    HTTPRequestURITooLong,
    HTTPServiceUnavailable,
    HTTPTooManyRequests,
    HTTPUnauthorized,
    HTTPUnsupportedMediaType,
    HTTPUpgradeRequired,
    HTTPVariantAlsoNegotiates,
    HTTPVersionNotSupported,
    ServerHTTPError,
)

__all__ = [
    "AuthenticationError",
    "BulkheadFullError",
    "ChecksumError",
    "CircuitOpenError",
    "ClientHTTPError",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionError",
    "DataNotSetError",
    "DataPullError",
    "DeadlineExceeded",
    "DecodeError",
    "DownloadError",
    "FragmentError",
    "HTTPBadGateway",
    "HTTPBadRequest",
    "HTTPConflict",
    "HTTPError",
    "HTTPExpectationFailed",
    "HTTPForbidden",
    "HTTPGatewayTimeout",
    "HTTPGone",
    "HTTPImATeapot",
    "HTTPInternalServerError",
    "HTTPLengthRequired",
    "HTTPMethodNotAllowed",
    "HTTPNetworkAuthenticationRequired",
    "HTTPNotAcceptable",
    "HTTPNotExtended",
    "HTTPNotFound",
    "HTTPNotImplemented",
    "HTTPPaymentRequired",
    "HTTPPreconditionFailed",
    "HTTPPreconditionRequired",
    "HTTPProxyAuthenticationRequired",
    "HTTPRequestEntityTooLarge",
    "HTTPRequestHeaderFieldsTooLarge",
    "HTTPRequestTimeout",
    "HTTPRequestURITooLong",
    "HTTPRequestedRangeNotSatisfiable",
    "HTTPServiceUnavailable",
    "HTTPTooManyRequests",
    "HTTPUnauthorized",
    "HTTPUnsupportedMediaType",
    "HTTPUpgradeRequired",
    "HTTPVariantAlsoNegotiates",
    "HTTPVersionNotSupported",
    "HostIsolatedError",
    "InsecureAuthError",
    "InvalidParameter",
    "LinkError",
    "MissingServiceDef",
    "MissingVariable",
    "PolicyError",
    "ProxyError",
    "RateLimitedError",
    "ReadError",
    "ReadTimeout",
    "RedirectError",
    "RelationError",
    "ResourceException",
    "ServerHTTPError",
    "ServiceException",
    "SleepwalkerException",
    "TLSError",
    "TypeException",
    "URLError",
]

# Tracebacks, logs and pickles name an error as users import it, not by the file that defines it. `inspect.getsource`
# looks for the class under the same name, and so does not find it; that of its methods works.
for _name in __all__:
    globals()[_name].__module__ = __name__
