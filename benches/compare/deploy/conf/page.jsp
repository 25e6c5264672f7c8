<%@ page contentType="text/html; charset=UTF-8" import="java.util.*" session="false" %>
<%!
    static final int PAGE = NUMBER;

    public static class Item {
        final int id;
        final String name;
        final double price;

        Item(int id, String name, double price) {
            this.id = id;
            this.name = name;
            this.price = price;
        }

        public String name() { return name; }

        public double price() { return price; }
    }

    private static List<Item> items(String query) {
        Random random = new Random(PAGE + (query == null ? 0 : query.hashCode() % 7));
        List<Item> items = new ArrayList<>();
        for (int id = 0; id < 40 + PAGE % 10; id++) {
            items.add(new Item(id, "item " + Integer.toHexString(random.nextInt()), random.nextInt(100000) / 100.0));
        }
        items.sort(Comparator.comparing(Item::name).thenComparing(Item::price));
        return items;
    }
%>
<%
    List<Item> items = items(request.getQueryString());
    double total = 0;
    Map<Character, Integer> letters = new TreeMap<>();
    for (Item item : items) {
        total += item.price;
        letters.merge(item.name.charAt(5), 1, Integer::sum);
    }
    pageContext.setAttribute("letters", letters);
    pageContext.setAttribute("title", "Page " + PAGE);
%>
<!DOCTYPE html>
<html>
<head><title>${title}</title><meta name="description" content="slot=SLOT page=<%= PAGE %>"></head>
<body>
<h1>${title}, for ${header["host"]}</h1>
<table>
<% for (Item item : items) { %>
    <tr class="<%= item.id % 2 == 0 ? "even" : "odd" %>">
        <td><%= item.id %></td><td><%= item.name %></td>
        <td><%= String.format(Locale.ROOT, "%.2f", item.price) %></td>
    </tr>
<% } %>
</table>
<ul>
<% for (Map.Entry<Character, Integer> letter : letters.entrySet()) { %>
    <li><%= letter.getKey() %>: <%= letter.getValue() %></li>
<% } %>
</ul>
<p>${letters.size()} letters, total <%= String.format(Locale.ROOT, "%.2f", total) %></p>
</body>
</html>
