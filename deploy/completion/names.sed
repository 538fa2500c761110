# From `numastow ledger --json`: each container's id, a long one shortened, and in the next line "=" and its name. What has
# other characters is left out: nothing of it can mean anything to a shell.
/^  "pools"/q
/^      "id": "[A-Za-z0-9][A-Za-z0-9_.-]*",$/!d
s/^ *"id": "(.*)",$/\1/
s/^([0-9a-f]{12})[0-9a-f]{52}$/\1/
p
n
s/^      "name": "([A-Za-z0-9][A-Za-z0-9_.-]*)",$/=\1/p
