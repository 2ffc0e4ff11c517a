# METADATA
# title: Headers
# description: |
#   Which headers change, for the backend (request) and for the client (response). Add a
#   file with the same package line and rules of the forms
#   `request.set["x-plan"] := "gold" if ...` and `response.remove contains "server" if ...`.
#   Two rules that set one header to different values are an error, and every request to
#   which both apply is refused. A header that is set is not removed.
package tollgate.headers
