# METADATA
# title: Quota
# description: |
#   What is counted. Limits are not enforced by this release: a request to which one
#   applies is refused, so that no limit is silently ignored.
# schemas:
#   - input: schema.input
package tollgate.quota

# METADATA
# title: Limits of the product
# description: The limits that the catalog gives the product through which the call came.
limits contains limit if some limit in data.catalog.products[input.product.name].limits
