"""Who a caller is: from the uid the kernel gives and the roles the configuration gives (decision 6)."""

from __future__ import annotations

import pwd

from csirt.config import Control
from csirt.errors import NotAllowed
from csirt.model.principal import Principal


def user_name(uid: int) -> str:
    """The Unix name of a uid, or `uid-N` when it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"


def principal_for(uid: int, control: Control, owner: int, as_user: str) -> Principal:
    """Who a caller is. The store's owner is `admin` unless the configuration names another role; users it does not
    name have the role `none`. Raises NotAllowed when `as_user` is given without the right to delegate."""
    name = user_name(uid)
    role = control.users.get(name, "admin" if uid == owner else "none")
    caller = Principal(name, uid, role)
    if not as_user or as_user == name:
        return caller
    if not caller.may("delegate"):
        raise NotAllowed(f"{name} ({role}) may not act as {as_user}: it needs the right 'delegate'")
    if as_user not in control.users:
        raise NotAllowed(f"{as_user} has no role; name it under [control.users]")
    return Principal(as_user, uid, control.users[as_user], delegate=name)
