"""What schemathesis sends where a picture is asked for: real ones, in every format."""

import schemathesis
from hypothesis import strategies as st

from tests.serving.test_hostile import saved, seven

PICTURES = st.sampled_from([saved(seven(), kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF")])
schemathesis.openapi.format("binary", PICTURES)
schemathesis.openapi.media_type("image/*", PICTURES)
