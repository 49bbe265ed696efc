"""Django's cache through django-redis against a node at the port in the first argument."""
import sys
import time

import django
from django.conf import settings

settings.configure(
    CACHES={
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"redis://127.0.0.1:{sys.argv[1]}/3",
            "OPTIONS": {"CLIENT_CLASS": "django_redis.client.DefaultClient"},
        }
    }
)
django.setup()
from django.core.cache import cache  # noqa: E402

cache.clear()
cache.set("a", {"of": [1, 2, 3]}, 100)
assert cache.get("a") == {"of": [1, 2, 3]}
assert cache.get("absent", "default") == "default"
assert not cache.set_many({f"k{i}": i for i in range(100)}, timeout=60), "nothing failed"
assert cache.get_many([f"k{i}" for i in range(100)]) == {f"k{i}": i for i in range(100)}
assert cache.add("k1", 7) is False and cache.get("k1") == 1
assert cache.incr("k1", 5) == 6 and cache.decr("k1") == 5
assert cache.get_or_set("new", lambda: "made") == "made"
assert cache.touch("a", 1) and cache.has_key("new")  # noqa: W601
time.sleep(1.1)
assert cache.get("a") is None
assert sorted(cache.keys("k*")) == sorted(f"k{i}" for i in range(100))
assert cache.delete_pattern("k*") == 100
cache.set("forever", 1, timeout=None)
assert cache.ttl("forever") is None
cache.clear()
assert cache.get("forever") is None
print("django-redis")
