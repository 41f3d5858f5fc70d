"""govc, VMware's command line, on the fake vCenter: each command is run and its effect is checked.

Layout::

    runner.py            Govc, which runs the program, and ``holds``, which says what a test shows
    conftest.py          fixtures: ``vcenter``, one for each test file; ``govc``, which talks to it
    left_out.py          every command that no test holds, with the reason
    document.py          writes the table in tests/fakes/vcenter/README.md
    test_commands.py     every command is in exactly one class
    test_<family>.py     the commands of a family

To add a command, write a test in the file of its family, or in a new one::

    MODEL = Model(hosts_per_cluster=2)  # of this file's fake; optional

    @holds("folder.create", "object.rename")
    def test_a_folder_is_renamed(govc: Govc, vcenter: VCenter) -> None:
        govc("folder.create", "/DC0/vm/a")
        govc("object.rename", "/DC0/vm/a", "b")
        assert govc("ls", "/DC0/vm/b") == "/DC0/vm/b\\n"

and delete the command's line from ``left_out.py``; then run
``python -m tests.clients.govc.document``. "Holds" means that the command ended with exit code 0 and
that the test checked its output or its effect: by another command, by the state of the fake, or by
the output itself. The test fails when a command that it holds was not run, or when the fake met an
error of its own.

The program is built by ``make .tools/govc``, from tests/govc. Without it the tests are skipped, or
fail with ``VMDK_CACHE_REQUIRE_ALL=1``.
"""
