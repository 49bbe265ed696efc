"""Flask-Session against a node at the port in the first argument."""
import sys

import flask
import redis
from flask_session import Session

app = flask.Flask(__name__)
app.config.update(SESSION_TYPE="redis", SESSION_REDIS=redis.Redis(port=int(sys.argv[1]), db=4))
Session(app)


@app.route("/set/<name>")
def set_name(name):
    flask.session["name"] = name
    return "ok"


@app.route("/get")
def get_name():
    return flask.session.get("name", "nobody")


@app.route("/clear")
def clear():
    flask.session.clear()
    return "ok"


one, two = app.test_client(), app.test_client()
assert one.get("/get").data == b"nobody"
assert one.get("/set/ann").data == b"ok"
assert one.get("/get").data == b"ann"
assert two.get("/get").data == b"nobody", "sessions are apart"
assert app.config["SESSION_REDIS"].dbsize() >= 1
assert one.get("/clear").data == b"ok"
assert one.get("/get").data == b"nobody"
print("Flask-Session")
