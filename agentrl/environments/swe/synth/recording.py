"""Source text that is put behind a module, to write down how tests use one of its functions.

A line for each call from outside: the calls that led to it (an object's, from its making on) and
what the last one gave, as Python writes them. Calls made while another one runs are not written.
"""

from __future__ import annotations

_RECORDER = '''

def _agentrl_record(owner, only):
    import functools, types
    inside, histories = [], {{}}

    def observed(name, member, before, args, kwargs, *, read=False):
        """One call; `before` of its arguments are the object or the class."""
        if inside or (before and type(args[0]) is not owner and args[0] is not owner):
            return member(*args, **kwargs)
        inside.append(name)
        try:
            call = repr((name, None if read else tuple(args[before:]), kwargs))
            made = args[0] if before and args[0] is not owner else None
            history = ()
            if made is not None and name != "__init__":
                history = histories.pop(id(made), (None, None))[1]
            # Of one that failed in between, or was made in another way, nothing is known.
            result = member(*args, **kwargs)
            if made is not None and history is not None:
                # The object is kept, so that no other one gets its id.
                histories[id(made)] = (made, (*history, call))
            if history is not None and name != "__init__":
                calls = ", ".join((*history, call))
                line = "((" + calls + ",), " + repr(repr(result)) + ")"
                with open({file!r}, "a") as file:
                    file.write(line.replace("\\n", " ") + "\\n")
            return result
        finally:
            inside.pop()

    def wrapped(name, member, before):
        @functools.wraps(member)
        def recorded(*args, **kwargs):
            return observed(name, member, before, args, kwargs)
        return recorded

    def read(name, member):
        def recorded(self):
            return observed(name, member.fget, 1, (self,), {{}}, read=True)
        return property(recorded, member.fset, member.fdel, member.__doc__)

    if not isinstance(owner, type):
        setattr(owner, only, wrapped(only, getattr(owner, only), 0))
        return
    silent = ("__repr__", "__new__", "__getattribute__", "__getattr__", "__setattr__", "__del__",
              "__hash__", "__init_subclass__", "__class_getitem__", "__set_name__")
    members = dict(vars(owner))
    if owner.__new__ is object.__new__ and isinstance(owner.__init__, types.WrapperDescriptorType):
        members["__init__"] = lambda self: None
    elif "__init__" not in members:
        members["__init__"] = owner.__init__
    for name, member in members.items():
        if name in silent:
            continue
        if isinstance(member, types.FunctionType):
            setattr(owner, name, wrapped(name, member, 1))
        elif isinstance(member, staticmethod):
            setattr(owner, name, staticmethod(wrapped(name, member.__func__, 0)))
        elif isinstance(member, classmethod):
            setattr(owner, name, classmethod(wrapped(name, member.__func__, 1)))
        elif isinstance(member, property) and member.fget is not None:
            setattr(owner, name, read(name, member))

import functools as _agentrl_functools, sys as _agentrl_sys
_agentrl_record(
    _agentrl_functools.reduce(getattr, {within!r}, _agentrl_sys.modules[__name__]), {only!r}
)
'''


def recorder(name: str, file: str) -> str:
    """
    Args:
        name: of a function or method, as `Function.name`; of a class, all methods are watched.
        file: of the sandbox, to which the lines are added.
    """
    *within, only = name.split(".")
    return _RECORDER.format(within=within, only=only, file=file)
