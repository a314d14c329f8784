"""As NOA's own example lists: requests, one page after another by nextLink; a line an entry."""

import json
import sys

import requests

_URL = "{}?$orderby=ContentDate/Start asc&$top=50"


def main() -> None:
    catalogue, authorization = sys.argv[1:]
    url = _URL.format(catalogue)
    while url:
        answer = requests.get(url, headers={"Authorization": authorization}, timeout=60)
        answer.raise_for_status()
        page = answer.json()
        for entry in page["value"]:
            print(json.dumps(entry))
        url = page.get("@odata.nextLink", "")


if __name__ == "__main__":
    main()
