"""The engine's ports (cache/ports.py), served by vCenter.

template_store.py        the templates: find, import, clone, replicate, delete
template_import.py       one import: upload, check, MarkAsTemplate
template_export.py       reading the disk of a template
entry_index.py           the entries of the cache's folder, kept in memory
volume_clone.py          one volume cloned from a template, through every failure
clone_calls.py           its CloneVM_Task calls, and the wait for those with unknown outcome
disk_in_clone.py         whether CloneVM_Task alone can make the volume
placement.py             datastores and hosts that a volume can go to
template_directories.py  the directories on datastores that templates left
"""
